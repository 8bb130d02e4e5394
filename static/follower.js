// "Follow over HTTP": the same answer, polled beside the socket, shown next to the streamed one.
//
// Rule 1: one poll at a time; the next one starts a pause after the last one's answer.
// Rule 2: it only looks: what it reads never reaches the answer itself.

import { ENDED, textOf } from "./answer.js";
import { make } from "./dom.js";
import { Prose } from "./prose.js";

const PAUSE_MS = 400;

export class Follower {
  #polls = 0;
  #status = "";
  #text = "";
  #abort = new AbortController();
  #prose = new Prose();
  #line = make("p", "polled-status");

  constructor(run, http) {
    this.run = run;
    this.http = http;
    const title = make("h3", "column-title", "Polled over HTTP");
    const head = make("div", "column-head", title, this.#line);
    this.node = make("section", "polled", head, this.#prose.node);
    this.node.setAttribute("aria-label", "The same answer, polled over HTTP");
    this.#say("Waiting for the response's id…", "waiting");
  }

  async start() {
    while (!this.#abort.signal.aborted) {
      if (this.run.answer.id && (await this.#poll())) return;
      if (this.run.answer.ended && !this.run.answer.id) return this.#say("Nothing to poll.", "gone");
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  stop() {
    this.#abort.abort();
    this.node.remove();
  }

  // True when there is nothing more to learn.
  async #poll() {
    try {
      const response = await this.http.get(this.run.answer.id, this.#abort.signal);
      this.#show(response);
      return ENDED.has(response.status) && this.run.answer.ended;
    } catch (error) {
      this.#say(error.message, "gone");
      return error.status === 404;
    }
  }

  #show(response) {
    this.#polls += 1;
    this.#status = response.status;
    this.#text = textOf(response.output ?? []);
    this.#prose.set(this.#text);
    this.compare();
  }

  // Say how far the last poll is behind the stream as it is now.
  compare() {
    if (!this.#polls) return;
    const streamed = this.run.answer.text;
    const isFinal = ENDED.has(this.#status);
    const facts = [this.#status.replace("_", " "), `poll ${this.#polls}`];
    if (isFinal && streamed && !this.#text) facts.push("no text is kept");
    else if (streamed) facts.push(distance(streamed, this.#text));
    this.#say(facts.join(" · "), isFinal && streamed === this.#text ? "equal" : this.#status);
  }

  #say(text, state) {
    this.#line.textContent = text;
    this.node.dataset.state = state;
  }
}

function distance(streamed, polled) {
  if (streamed === polled) return "equal to the streamed text";
  const behind = streamed.length - polled.length;
  const characters = `${Math.abs(behind)} character${Math.abs(behind) === 1 ? "" : "s"}`;
  return `${characters} ${behind < 0 ? "ahead" : "behind"}`;
}
