// One stored response, read over HTTP from where its answer is: as a stream, or by polls where
// streams do not get through.
//
// Rule 1: a silent stream is held against a poll: only what a poll has and the stream has not says
//         that something between buffers it. A slow model is silent in both.
// Rule 2: a poll waits at the server for something new, and less long where that is cut off.

const FIRST_SILENCE_MS = 3000;
const LONGEST_SILENCE_MS = 20_000;
const GRACE_MS = 1000; // for events that are on their way
const MOST_FAILURES = 2; // streams that brought nothing, though the server answered
const WAITS = [20, 5, 0]; // seconds at the server
const PAUSE_MS = 400; // between polls
const SHORT_PAUSE_MS = 1500; // between polls that do not wait

export class Reading {
  #failures = 0;
  #waits = 0;

  // run: answer, receive(event, way), adopt(response, number)
  constructor(run, http, connection, signal) {
    Object.assign(this, { run, http, connection, signal });
  }

  // Reads on; returns when the answer has ended, or there is nothing more to read this way.
  // Throws HttpError, or what fetch throws.
  next() {
    return this.connection.streams ? this.#stream() : this.#poll();
  }

  async #stream() {
    const { answer } = this.run;
    const before = answer.last;
    const error = await this.#follow().then(
      () => null,
      (raised) => raised,
    );
    if (answer.last > before || answer.ended) this.#failures = 0;
    else if (!this.signal.aborted) await this.#failed();
    if (error) throw error;
  }

  async #follow() {
    const stop = new AbortController();
    const watch = new Watch(() => this.#check(stop));
    const signal = AbortSignal.any([this.signal, stop.signal]);
    try {
      for await (const event of this.http.stream(this.run.answer.id, this.run.answer.last, signal)) {
        watch.restart();
        if (this.run.receive(event, "sse") === "gap") break;
        this.connection.streamWorked();
      }
    } catch (error) {
      if (!stop.signal.aborted) throw error;
    } finally {
      watch.end();
    }
  }

  // Has the server said what the stream has not brought?
  async #check(stop) {
    const { answer } = this.run;
    const { number } = await this.#snapshot(0);
    if (number <= answer.last) return;
    await new Promise((resolve) => setTimeout(resolve, GRACE_MS));
    if (answer.last >= number || answer.ended) return;
    this.connection.streamFailed();
    stop.abort();
  }

  // It brought nothing. Perhaps no event is left to read, and the snapshot is all there is; and a
  // server that is away does not count against the stream.
  async #failed() {
    const isThere = await this.#look(0).then(
      () => true,
      () => false,
    );
    if (isThere) this.#failures += 1;
    if (this.#failures >= MOST_FAILURES) this.connection.streamFailed();
  }

  async #poll() {
    const { answer } = this.run;
    while (!answer.ended && !this.signal.aborted) {
      await this.#look(WAITS[this.#waits]);
      const pause = WAITS[this.#waits] ? PAUSE_MS : SHORT_PAUSE_MS;
      if (!answer.ended) await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async #look(wait) {
    try {
      const { response, number } = await this.#snapshot(wait);
      if (!this.signal.aborted) this.run.adopt(response, number);
    } catch (error) {
      const wasCut = error.isOfBridge === false || error instanceof TypeError;
      if (wasCut && wait) this.#waits = Math.min(this.#waits + 1, WAITS.length - 1);
      throw error;
    }
  }

  #snapshot(wait) {
    return this.http.poll(this.run.answer.id, this.run.answer.last, wait, this.signal);
  }
}

// Calls `check` after a silence, and again after longer ones, until something comes or it is over.
class Watch {
  #timer = null;
  #isOver = false;

  constructor(check) {
    this.check = check;
    this.restart();
  }

  restart() {
    this.#wait(FIRST_SILENCE_MS);
  }

  end() {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #wait(silence) {
    clearTimeout(this.#timer);
    if (this.#isOver) return;
    const longer = Math.min(2 * silence, LONGEST_SILENCE_MS);
    this.#timer = setTimeout(async () => {
      await this.check().catch(() => {}); // a poll that fails says nothing of the stream
      this.#wait(longer);
    }, silence);
  }
}
