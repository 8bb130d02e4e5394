// One answer in the making: fed by the socket, and by HTTP when the socket is gone or silent.
//
// Rule 1: whatever the way, an event reaches the answer once and in order.
// Rule 2: a create is never sent twice: only `created` proves that the server has it, and a lost
//         one may have it.

import { Backoff } from "./backoff.js";
import { HttpError } from "./http.js";

// The bridge repeats a data frame after 30 silent seconds; twice that and more means a dead way.
const QUIET_MS = 75_000;

const LOST = {
  code: "connection_lost",
  message: "The connection was lost before the answer began.",
};

export class Run {
  #resuming = false;
  #stopWanted = false;
  #quiet = null;
  #abort = new AbortController();

  // observer: event(event, way), change(run), created(run), ended(run)
  constructor(answer, lane, http, observer) {
    Object.assign(this, { answer, lane, http, observer });
  }

  start(frame) {
    this.started = performance.now();
    this.#watch();
    this.lane.create(frame, this);
  }

  // Read a response that runs already, from the first event that the answer has not.
  resume() {
    this.started ??= performance.now();
    if (!this.#resuming) return this.#resume();
    return undefined;
  }

  receive(event, way) {
    this.#watch();
    if (this.answer.ended) return "repeat";
    const verdict = this.answer.take(event);
    if (verdict === "gap" && way === "socket") this.resume();
    if (verdict !== "taken") return verdict;
    this.observer.event(event, way);
    if (event.type === "response.created") this.#created();
    this.#changed();
    return verdict;
  }

  refuse(frame) {
    this.observer.event(frame, "socket");
    this.#fail(frame.error);
  }

  lost() {
    if (this.answer.ended) return;
    if (this.answer.id) this.resume();
    else this.#fail(LOST);
  }

  // Ask for the end; the terminal event says when it is true.
  async cancel() {
    if (this.answer.ended) return;
    this.#stopWanted = !this.answer.id; // said again when `created` names the response
    if (!this.lane.cancel(this) && this.answer.id) await this.http.cancel(this.answer.id);
  }

  // The page looks away: nothing is reported from here on.
  forget() {
    this.observer = { event() {}, change() {}, created() {}, ended() {} };
    this.#abort.abort();
    clearTimeout(this.#quiet);
  }

  #created() {
    this.observer.created(this);
    if (this.#stopWanted) this.cancel();
  }

  #changed() {
    this.observer.change(this);
    if (this.answer.ended) this.#end();
  }

  #fail(error) {
    if (this.answer.ended) return;
    this.answer.fail(error);
    this.#changed();
  }

  #end() {
    clearTimeout(this.#quiet);
    this.took = performance.now() - this.started;
    this.observer.ended(this);
  }

  #watch() {
    clearTimeout(this.#quiet);
    if (!this.answer.ended) this.#quiet = setTimeout(() => this.#silent(), QUIET_MS);
  }

  // Numbers keep a second way from repeating anything, so the first one may stay.
  #silent() {
    if (this.answer.id) this.resume();
    else this.lane.drop();
  }

  async #resume() {
    this.#resuming = true;
    const backoff = new Backoff();
    while (!this.answer.ended && !this.#abort.signal.aborted) {
      const error = await this.#readOn(backoff);
      if (error?.status === 404) this.#fail({ code: "not_found", message: error.message });
      if (!this.answer.ended) await backoff.wait();
    }
    this.#resuming = false;
  }

  // Returns why it ended early, or nothing. Whatever it is, the next try starts where this ended.
  async #readOn(backoff) {
    try {
      await this.#follow(backoff);
      return null;
    } catch (error) {
      if (error instanceof HttpError || error instanceof TypeError) return error; // refused, or cut
      if (error.name === "AbortError") return error;
      throw error;
    }
  }

  async #follow(backoff) {
    const before = this.answer.last;
    for await (const event of this.http.stream(this.answer.id, before, this.#abort.signal)) {
      backoff.reset();
      if (this.receive(event, "http") === "gap") break;
    }
    // No event left to read (they are kept for less time than the response): the snapshot decides.
    if (!this.answer.ended && this.answer.last === before) await this.#adopt();
  }

  async #adopt() {
    const response = await this.http.get(this.answer.id, this.#abort.signal);
    if (response.status === "queued" || response.status === "in_progress") return;
    this.answer.settle(response);
    this.#changed();
  }
}
