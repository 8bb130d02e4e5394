// How the page reaches the server: by the socket, else by HTTP streaming, else by long polls.
//
// Rule 1: a turn never waits for a better way: it goes the best one that is known to work.
// Rule 2: a better way is tried again, beside the turns or by a later one, first soon and then less
//         often: what blocked it may be gone.

import { reason, whyNoSocket } from "./reasons.js";
import { Lane } from "./lane.js";

const RETRY_SOCKET_MS = 10_000; // a turn this long after the last try asks for another one
const FIRST_REST_MS = 60_000; // how long streaming is left alone when it did not get through
const LONGEST_REST_MS = 600_000;

export class Connection {
  reason = reason("away"); // why there is no socket, if there is none
  #state = "connecting";
  #tried = 0;
  #rest = FIRST_REST_MS;
  #streamsFrom = 0; // when streaming may be tried again

  // observer: changed(state, reason), needsKey(reason), stray(frame, isHealing)
  constructor(http, settings, observer) {
    Object.assign(this, { http, settings, observer });
    this.lane = new Lane(settings, {
      opened: () => this.#set("open"),
      closed: (refused) => this.#closed(refused),
      stray: (frame, isHealing) => observer.stray(frame, isHealing),
    });
  }

  open() {
    this.#tried = performance.now();
    this.lane.open();
  }

  // "open" (by socket), "sse", "poll"; "connecting", "lost" and "refused" are no way at all.
  get state() {
    return this.#state;
  }

  get streams() {
    return performance.now() >= this.#streamsFrom;
  }

  // Send a create the best way there is. What waits for a socket goes over HTTP when none opens.
  start(frame, run) {
    if (this.#state !== "sse" && this.#state !== "poll") return this.lane.create(frame, run);
    if (performance.now() - this.#tried > RETRY_SOCKET_MS) this.retry();
    this.#set(this.#httpWay());
    return run.startOverHttp(frame);
  }

  // The better ways are tried now, streams by the next turn.
  retryAll() {
    this.#streamsFrom = 0;
    this.retry();
  }

  retry() {
    this.#tried = performance.now();
    this.lane.hurry();
  }

  // Streaming over HTTP brought nothing where a poll had something, or was cut off.
  streamFailed() {
    if (!this.streams) return;
    this.#streamsFrom = performance.now() + this.#rest;
    this.#rest = Math.min(LONGEST_REST_MS, 2 * this.#rest);
    if (this.#state === "sse") this.#set("poll");
  }

  streamWorked() {
    this.#rest = FIRST_REST_MS;
  }

  async #closed(refused) {
    if (!refused) return this.#set("lost");
    if (this.#state === "open") this.#set("lost");
    this.reason = await whyNoSocket(this.http, this.settings.key);
    if (this.reason.code.startsWith("key_") && !this.reason.http) {
      this.#set("refused");
      await this.observer.needsKey(this.reason);
      return this.#set("connecting");
    }
    this.lane.longestPause(this.reason.http);
    if (this.reason.http) return this.#overHttp();
    return this.#set(this.reason.code === "away" ? "lost" : "refused");
  }

  #overHttp() {
    this.#set(this.#httpWay());
    for (const { frame, run } of this.lane.takeUnsent()) run.startOverHttp(frame);
  }

  #httpWay() {
    return this.streams ? "sse" : "poll";
  }

  #set(state) {
    this.#state = state;
    this.observer.changed(state, state === "open" ? null : this.reason);
  }
}

