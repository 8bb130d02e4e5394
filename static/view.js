// How a turn looks: the user's words, then the answer's items as they grow, then what is to say
// about them.

import { CardView } from "./cards.js";
import { button, make } from "./dom.js";
import { MessageView } from "./message.js";
import { Prose } from "./prose.js";
import { said } from "./said.js";

class ReasoningView {
  #prose = new Prose();
  #title = make("summary", "", "Thinking…");
  node = make("details", "reasoning", this.#title, this.#prose.node);

  draw(item) {
    const parts = [...(item.summary ?? []), ...(item.content ?? [])];
    const text = parts.map((part) => part?.text ?? "").join("\n\n");
    this.#prose.set(text);
    this.node.hidden = !text && !item.encrypted_content;
    if (!text && item.encrypted_content) this.#prose.set("The provider keeps it sealed.");
    if (item.status === "completed") this.finish();
  }

  finish() {
    this.#title.textContent = "Reasoning";
  }
}

// All other items are cards.
const VIEWS = { message: MessageView, reasoning: ReasoningView };

export class TurnView {
  #views = [];
  #items = make("div", "items");
  #wait = make("p", "waiting", make("span", "dots"), "Waiting for the model…");
  #after = make("div", "after");

  // say: the user's words or ""; attached: the parts sent with them; announce(text) speaks to those
  // who listen instead of look.
  constructor(say, attached, announce) {
    this.announce = announce;
    this.answerNode = make("div", "answer", this.#items, this.#wait, this.#after);
    this.node = make("article", "turn", ...(say ? [said(say, attached)] : []), this.answerNode);
    this.node.setAttribute("aria-label", say ? "Question and answer" : "Answer, continued");
    this.live(true);
  }

  live(isLive) {
    this.answerNode.classList.toggle("live", isLive);
    this.answerNode.setAttribute("aria-busy", `${isLive}`);
    if (!isLive) this.#wait.hidden = true;
  }

  draw(items) {
    items.forEach((item, index) => item && this.#view(index, item).draw(item));
    this.#wait.hidden = this.#wait.hidden || items.length > 0;
  }

  finish() {
    for (const view of this.#views) view?.finish();
    this.live(false);
  }

  // A tool's output stands on the card of its call.
  showOutput(items, output) {
    const index = items.findIndex((item) => item?.call_id === output.call_id);
    this.#views[index]?.answer?.(output.output);
  }

  // A sentence about the turn, with buttons for what can be done: [[label, action], …].
  note(kind, text, actions = []) {
    const buttons = actions.map(([label, action]) => button(label, "small", action));
    const node = make("div", `note ${kind}`, make("p", "", text), ...buttons);
    node.setAttribute("role", "note");
    this.#after.append(node);
    this.announce(text);
  }

  // Another turn follows: what could be done about this one is past.
  settle() {
    for (const old of this.#after.querySelectorAll(".note > button")) old.remove();
  }

  meta(text, copied) {
    const copy = button("Copy", "quiet", () => navigator.clipboard?.writeText(copied));
    copy.setAttribute("aria-label", "Copy this answer");
    this.#after.append(make("p", "meta", make("span", "", text), ...(copied ? [copy] : [])));
  }

  // Another column beside the answer.
  beside(node) {
    this.node.classList.add("followed");
    this.answerNode.after(node);
  }

  alone() {
    this.node.classList.remove("followed");
  }

  #view(index, item) {
    if (!this.#views[index]) {
      const View = VIEWS[item.type] ?? CardView;
      this.#views[index] = new View(this.announce, item);
      this.#items.append(this.#views[index].node);
    }
    return this.#views[index];
  }
}
