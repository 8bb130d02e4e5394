// The event inspector: every frame as it came, newest last, each one opened on demand.
//
// Rule 1: bounded: the oldest row goes when a new one would be too many.
// Rule 2: cheap: rows are built once a frame, only while the panel is open; JSON is written only
//         for a row that is opened.

import { byId, eachFrame, make } from "./dom.js";

const MOST_ROWS = 2000;

export class Inspector {
  #entries = []; // those shown or waiting to be shown
  #unshown = 0;
  #lastAt = null;
  #draw = eachFrame(() => this.#show());

  constructor() {
    this.panel = byId("inspector");
    this.list = byId("events");
    this.list.onclick = (click) => toggle(click.target.closest("button"));
    byId("events-clear").onclick = () => this.clear();
    byId("events-deltas").onchange = (change) =>
      this.list.classList.toggle("without-deltas", !change.target.checked);
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  open(isOpen) {
    this.panel.hidden = !isOpen;
    if (isOpen) this.#draw();
  }

  // What is kept, for a report: { at (ms since the page began), way, event }.
  get entries() {
    return this.#entries.map(({ event, way, at }) => ({ at: Math.round(at), way, event }));
  }

  // `way` is how it travelled: "sent", "socket", "sse" or "poll"; "page" is the page's own.
  add(event, way) {
    const now = performance.now();
    const gap = this.#lastAt === null ? 0 : now - this.#lastAt;
    this.#lastAt = now;
    this.#entries.push({ event, way, gap, at: now });
    this.#unshown += 1;
    if (this.#entries.length > 2 * MOST_ROWS) this.#forget();
    if (this.isOpen) this.#draw();
  }

  clear() {
    this.#entries = [];
    this.#unshown = 0;
    this.#lastAt = null;
    this.list.replaceChildren();
    this.#count();
  }

  #forget() {
    this.#entries = this.#entries.slice(-MOST_ROWS);
    this.#unshown = Math.min(this.#unshown, this.#entries.length);
  }

  #show() {
    if (!this.isOpen) return;
    this.#forget();
    const scroller = this.list.parentElement;
    const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
    const fresh = this.#entries.slice(this.#entries.length - this.#unshown);
    this.list.append(...fresh.map(row));
    this.#unshown = 0;
    while (this.list.childElementCount > MOST_ROWS) this.list.firstElementChild.remove();
    this.#count();
    if (atEnd) scroller.scrollTop = scroller.scrollHeight;
  }

  #count() {
    byId("events-count").textContent = `${this.list.childElementCount}`;
    byId("events-none").hidden = this.list.childElementCount > 0;
  }
}

const WAYS = { sent: "sent", socket: "", sse: "HTTP", poll: "poll", page: "page" };
const entries = new WeakMap(); // a row's button → its event

function row({ event, way, gap }) {
  const head = make(
    "button",
    "event-head",
    make("span", "event-number", `${event.sequence_number ?? (way === "sent" ? "→" : "·")}`),
    make("span", "event-type", shortName(event.type)),
    make("span", "event-way", WAYS[way]),
    make("span", "event-gap", `+${gap < 10 ? gap.toFixed(1) : Math.round(gap)} ms`),
  );
  head.type = "button";
  head.setAttribute("aria-expanded", "false");
  entries.set(head, event);
  const item = make("li", `event ${kind(event.type, way)}`, head);
  item.dataset.type = event.type;
  item.dataset.number = event.sequence_number ?? "";
  return item;
}

function kind(type, way) {
  if (way === "sent") return "sent";
  if (type.endsWith(".delta")) return "delta";
  if (type === "error" || type === "response.failed") return "bad";
  return type === "response.completed" ? "good" : "";
}

const shortName = (type) => type.replace(/^response\./, "");

function toggle(head) {
  if (!head) return;
  const isOpen = head.getAttribute("aria-expanded") !== "true";
  head.setAttribute("aria-expanded", `${isOpen}`);
  if (!isOpen) return head.nextElementSibling.remove();
  const json = make("pre", "event-json", JSON.stringify(entries.get(head), null, 2));
  json.tabIndex = 0;
  head.after(json);
  json.scrollIntoView({ block: "nearest" });
  return undefined;
}
