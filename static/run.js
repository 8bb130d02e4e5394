// One answer in the making: fed by the socket, and by HTTP when the socket is gone, silent or blocked.
//
// Rule 1: whatever the way, an event reaches the answer once and in order.
// Rule 2: on a socket a create is never sent twice: only `created` proves that the server has it,
//         and a lost one may have it. Over HTTP it has a key, with which it is found again.

import { Backoff } from "./backoff.js";
import { randomName } from "./dom.js";
import { HttpError } from "./http.js";
import { Reading } from "./reading.js";

// The bridge repeats a data frame after 30 silent seconds; twice that and more means a dead way.
const QUIET_MS = 75_000;

// What a proxy or a server that restarts says; the create is sent again.
const PASSING = new Set([408, 502, 503, 504]);
const MOST_TRIES = 6;

const LOST = {
  code: "connection_lost",
  message: "The connection was lost before the answer began.",
};

const STOPPED = { code: "stopped", message: "Stopped before the answer began." };

export class Run {
  #resuming = false;
  #stopWanted = false;
  #quiet = null;
  #abort = new AbortController();

  // observer: event(event, way), change(run), created(run), ended(run)
  constructor(answer, connection, http, observer) {
    Object.assign(this, { answer, connection, http, observer });
  }

  start(frame) {
    this.started = performance.now();
    this.#watch();
    this.connection.start(frame, this);
  }

  async startOverHttp({ type: _, ...fields }) {
    clearTimeout(this.#quiet);
    const made = await this.#create(fields, randomName());
    if (!made || this.#abort.signal.aborted) return;
    this.answer.adopt(made, -1); // its events are read from the first on
    this.#created();
    if (this.answer.ended) this.#changed();
    else this.resume();
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
    if (this.connection.lane.withdraw(this)) return this.#fail(STOPPED);
    this.#stopWanted = !this.answer.id; // said again when `created` names the response
    if (!this.connection.lane.cancel(this) && this.answer.id) await this.http.cancel(this.answer.id);
    return undefined;
  }

  // The page looks away: nothing is reported from here on, and what runs at the server runs on.
  forget() {
    this.observer = { event() {}, change() {}, created() {}, ended() {} };
    this.#abort.abort();
    clearTimeout(this.#quiet);
  }

  // A snapshot that a poll brought.
  adopt(response, number) {
    this.#watch();
    if (this.answer.ended) return;
    const isNews = number > this.answer.last || response.status !== this.answer.status;
    this.answer.adopt(response, number);
    if (isNews) this.observer.event({ type: "poll", sequence_number: number, response }, "poll");
    this.#changed();
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
    else this.connection.lane.drop();
  }

  // The response as it began, or nothing: then the run has failed or was stopped.
  async #create(fields, key) {
    const backoff = new Backoff();
    for (let tries = 1; !this.#abort.signal.aborted && !this.#stopWanted; tries++) {
      try {
        return await this.http.create(fields, key, this.#abort.signal);
      } catch (error) {
        if (error.name === "AbortError") return null;
        const isRefused = error instanceof HttpError && !PASSING.has(error.status);
        if (isRefused || tries === MOST_TRIES) {
          this.#fail({ code: error.code ?? "connection_lost", message: wordsFor(error) });
          return null;
        }
        await backoff.wait(1000 * (error.retryAfter ?? 0));
      }
    }
    if (this.#stopWanted) this.#fail(STOPPED);
    return null;
  }

  async #resume() {
    this.#resuming = true;
    const backoff = new Backoff();
    const reading = new Reading(this, this.http, this.connection, this.#abort.signal);
    while (!this.answer.ended && !this.#abort.signal.aborted) {
      const before = this.answer.last;
      const error = await readOn(reading);
      if (this.answer.last > before) backoff.reset();
      if (error?.status === 404) this.#fail({ code: "not_found", message: error.message });
      if (!this.answer.ended) await backoff.wait(1000 * (error?.retryAfter ?? 0));
    }
    this.#resuming = false;
  }
}

// Returns why it ended early, or nothing. Whatever it is, the next try starts where this ended.
async function readOn(reading) {
  try {
    await reading.next();
    return null;
  } catch (error) {
    if (error instanceof HttpError || error instanceof TypeError) return error; // refused, or cut
    if (error.name === "AbortError") return error;
    throw error;
  }
}

function wordsFor(error) {
  return error instanceof HttpError ? error.message : "The server could not be reached.";
}
