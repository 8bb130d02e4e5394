// What is said of the connection: the state in the header, and why it is not the best one.

import { byId } from "./dom.js";

const STATES = {
  connecting: "Connecting…",
  open: "Connected",
  sse: "Streaming over HTTP",
  poll: "Polling over HTTP",
  lost: "Reconnecting…",
  refused: "Not connected",
};
const INSTEAD = {
  sse: "Answers stream over HTTP instead.",
  poll: "Streams are held back too, so answers are polled over HTTP.",
};

export class Status {
  #closed = ""; // the notice that was closed; another one is shown

  // retry(): try the better ways now
  constructor(retry) {
    byId("notice-retry").onclick = retry;
    byId("notice-close").onclick = () => {
      this.#closed = byId("notice-text").textContent;
      this.#say("");
      byId("prompt").focus();
    };
  }

  show(state, reason) {
    byId("connection").dataset.state = state;
    byId("connection-text").textContent = STATES[state];
    if (state === "open") this.#closed = "";
    const isSaid = state in INSTEAD || (state === "refused" && !reason.code.startsWith("key_"));
    this.#say(isSaid ? [reason.text, INSTEAD[state]].filter(Boolean).join(" ") : "");
  }

  #say(text) {
    const shown = text === this.#closed ? "" : text;
    if (byId("notice-text").textContent !== shown) byId("notice-text").textContent = shown;
    byId("notice").hidden = !shown;
  }
}
