// The bridge's HTTP side: models, polling, cancelling, and a response's events as a stream.
//
// Rule 1: every address is relative to the page, so the page works behind any path prefix.
// Rule 2: what goes wrong is an HttpError with the status and the server's own words.

export class HttpError extends Error {
  constructor(status, error = {}) {
    super(error.message || `The server answered ${status}.`);
    this.status = status;
    this.code = error.code || null;
  }
}

export class Http {
  constructor(credentials) {
    this.credentials = credentials;
  }

  async models() {
    return (await this.#json("GET", "v1/models")).data;
  }

  get(id, signal) {
    return this.#json("GET", address(id), signal);
  }

  cancel(id) {
    return this.#json("POST", `${address(id)}/cancel`);
  }

  // The response's events after number `after` (-1: all of them), then live until it ends.
  async *stream(id, after, signal) {
    const query = after < 0 ? "stream=true" : `stream=true&starting_after=${after}`;
    const answer = await this.#fetch("GET", `${address(id)}?${query}`, signal);
    for await (const data of readEvents(answer.body)) {
      const event = JSON.parse(data);
      // An SSE error belongs to this reading of the response, never to the response.
      if (event.type === "error") throw new HttpError(500, event.error || event);
      yield event;
    }
  }

  async #json(method, path, signal) {
    return (await this.#fetch(method, path, signal)).json();
  }

  async #fetch(method, path, signal) {
    const headers = {};
    if (this.credentials.key) headers.Authorization = `Bearer ${this.credentials.key}`;
    const answer = await fetch(path, { method, headers, signal, cache: "no-store" });
    if (answer.ok) return answer;
    const body = await answer.json().catch(() => ({})); // a proxy's refusal need not be JSON
    throw new HttpError(answer.status, body.error);
  }
}

function address(id) {
  return `v1/responses/${encodeURIComponent(id)}`;
}

// The `data` of each server-sent event, until the stream or `[DONE]` ends it.
export async function* readEvents(body) {
  let rest = "";
  for await (const text of readText(body)) {
    const blocks = (rest + text.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop(); // an event cut off by the end of the stream is no event
    for (const block of blocks) {
      const data = dataOf(block);
      if (data === "[DONE]") return;
      if (data) yield data;
    }
  }
}

async function* readText(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    await reader.cancel().catch(() => {}); // it may have failed already: nothing left to close
  }
}

function dataOf(block) {
  const lines = block.split("\n").filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
}
