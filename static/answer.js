// A response as its events tell it: the fold that the page draws.
//
// Rule 1: an event counts once and in order; the sequence number decides, whatever brought it.
// Rule 2: items are the protocol's own; a new delta is a line in the table.

export const ENDED = new Set(["completed", "failed", "incomplete", "cancelled"]);

const part = (item, event) => [item.content?.[event.content_index], "text"];
const whole = (key) => (item) => [item, key];

// Which text a delta lengthens.
const GROWS = {
  "response.output_text.delta": part,
  "response.reasoning_text.delta": part,
  "response.refusal.delta": (item, event) => [item.content?.[event.content_index], "refusal"],
  "response.reasoning_summary_text.delta": (item, event) => [
    item.summary?.[event.summary_index],
    "text",
  ],
  "response.function_call_arguments.delta": whole("arguments"),
  "response.mcp_call_arguments.delta": whole("arguments"),
  "response.custom_tool_call_input.delta": whole("input"),
  "response.code_interpreter_call_code.delta": whole("code"),
};

// What a hosted tool is doing now.
const STATE = /^response\.(?:\w+_call|mcp_list_tools)\.([a-z_]+)$/;

export class Answer {
  id = null;
  model = "";
  status = "waiting";
  items = [];
  last = -1; // the newest sequence number taken
  error = null;
  incomplete = null;
  usage = null;

  get ended() {
    return ENDED.has(this.status);
  }

  get text() {
    return textOf(this.items);
  }

  // "taken", "repeat" (known already) or "gap" (something before it is missing).
  take(event) {
    const number = event.sequence_number;
    if (number <= this.last) return "repeat";
    if (number > this.last + 1) return "gap";
    this.last = number;
    this.#apply(event);
    return "taken";
  }

  #apply(event) {
    const grow = GROWS[event.type];
    if (grow) this.#grow(grow, event);
    else if (event.response) this.settle(event.response);
    else this.#place(event);
  }

  #grow(grow, event) {
    const item = this.items[event.output_index];
    const [target, key] = item ? grow(item, event) : [];
    if (target) target[key] = (target[key] ?? "") + event.delta;
  }

  #place(event) {
    const item = this.items[event.output_index];
    const state = STATE.exec(event.type)?.[1];
    if (state && item) item.status = state;
    else if (event.type === "response.output_text.annotation.added") {
      const text = item?.content?.[event.content_index];
      if (text) (text.annotations ??= [])[event.annotation_index] = event.annotation;
    } else if (event.partial_image_b64 && item) item.partial = event.partial_image_b64;
    else if (event.item) this.items[event.output_index] = event.item;
    else if (event.type === "response.content_part.added") {
      (item.content ??= [])[event.content_index] = event.part;
    } else if (event.type === "response.reasoning_summary_part.added") {
      (item.summary ??= [])[event.summary_index] = event.part;
    }
  }

  // Take a snapshot's facts; its output only when that is final (a cancelled one keeps what came).
  settle(response) {
    this.id = response.id;
    this.model = response.model;
    this.status = response.status;
    this.error = response.error ?? null;
    this.incomplete = response.incomplete_details ?? null;
    this.usage = response.usage ?? null;
    const final = response.status === "completed" || response.status === "incomplete";
    if (final && response.output) this.items = response.output;
  }

  // Take a whole snapshot, with the number of its last event, in the place of events.
  adopt(response, number) {
    this.settle(response);
    this.last = Math.max(this.last, number);
    if (response.status !== "cancelled" && response.output) this.items = response.output;
  }

  fail(error) {
    this.status = "failed";
    this.error = error;
  }
}

export function textOf(items) {
  const messages = items.filter((item) => item?.type === "message");
  const parts = messages.flatMap((item) => item.content ?? []);
  return parts.map((piece) => piece?.text ?? "").join("");
}

export function callsOf(items) {
  return items.filter((item) => item?.type === "function_call");
}
