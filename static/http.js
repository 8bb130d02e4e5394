// The bridge's HTTP side: models, creating, polling, cancelling, and a response's events as a stream.
//
// Rule 1: every address is relative to the page, so the page works behind any path prefix.
// Rule 2: what goes wrong is an HttpError with the status and the server's own words; what does not
//         arrive at all is fetch's own TypeError.

import { readEvents } from "./sse.js";

const RESPONSES = "v1/responses";

export class HttpError extends Error {
  constructor(status, error = null, retryAfter = null) {
    super(error?.message || `The server answered ${status}.`);
    this.status = status;
    this.code = error?.code || null;
    this.retryAfter = retryAfter; // seconds, or null
    this.isOfBridge = error !== null; // or else of something before it
  }
}

export class Http {
  constructor(credentials) {
    this.credentials = credentials;
  }

  async models() {
    return (await this.#json("GET", "v1/models")).data;
  }

  // What the page may know of the server without a key.
  facts() {
    return this.#json("GET", "static/server.json");
  }

  // Resolves when the bridge takes this key and this page's origin: a browser sends the origin with
  // OPTIONS as with a socket, and not with GET. 405 is the bridge's answer to who may come in.
  async probe() {
    try {
      await this.#fetch("OPTIONS", "v1/models");
    } catch (error) {
      if (error.status !== 405) throw error;
    }
  }

  // Begin a background response; sent again with the same key it is found, not made twice.
  create(fields, key, signal) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
    const body = JSON.stringify({ ...fields, background: true, store: true });
    return this.#json("POST", RESPONSES, { headers, body, signal });
  }

  get(id, signal) {
    return this.#json("GET", address(id), { signal });
  }

  // The snapshot and the number of its last event, as soon as that is above `after`, or after
  // `wait` seconds.
  async poll(id, after, wait, signal) {
    const path = `${address(id)}?wait=${wait}&after=${after}`;
    const answer = await this.#fetch("GET", path, { signal });
    const number = Number(answer.headers.get("x-sequence-number") ?? -1);
    return { response: await answer.json(), number };
  }

  cancel(id) {
    return this.#json("POST", `${address(id)}/cancel`);
  }

  // The response's events after number `after` (-1: all of them), then live until it ends.
  async *stream(id, after, signal) {
    const query = after < 0 ? "stream=true" : `stream=true&starting_after=${after}`;
    const answer = await this.#fetch("GET", `${address(id)}?${query}`, { signal });
    for await (const data of readEvents(answer.body)) {
      const event = JSON.parse(data);
      // An SSE error belongs to this reading of the response, never to the response.
      if (event.type === "error") throw new HttpError(500, event.error || event);
      yield event;
    }
  }

  async #json(method, path, options) {
    return (await this.#fetch(method, path, options)).json();
  }

  async #fetch(method, path, { headers = {}, ...options } = {}) {
    if (this.credentials.key) headers.Authorization = `Bearer ${this.credentials.key}`;
    const answer = await fetch(path, { method, headers, cache: "no-store", ...options });
    if (answer.ok) return answer;
    const body = await answer.json().catch(() => null); // a proxy's refusal need not be JSON
    const retryAfter = Number(answer.headers.get("retry-after")) || null;
    throw new HttpError(answer.status, body?.error ?? null, retryAfter);
  }
}

function address(id) {
  return `${RESPONSES}/${encodeURIComponent(id)}`;
}
