// How a turn looks: the user's words, then the answer's items as they grow, then what is to say
// about them.

import { button, make, pretty } from "./dom.js";
import { Prose } from "./prose.js";

class MessageView {
  node = make("div", "message");
  #parts = [];

  constructor(announce) {
    this.announce = announce;
  }

  draw(item) {
    (item.content ?? []).forEach((part, index) => part && this.#part(index, part).set(wordsOf(part)));
  }

  finish() {
    for (const part of this.#parts) part?.finish();
  }

  #part(index, part) {
    if (this.#parts[index]) return this.#parts[index];
    const prose = new Prose(this.announce);
    this.#parts[index] = prose;
    this.node.append(part.type === "refusal" ? refusal(prose) : prose.node);
    return prose;
  }
}

const wordsOf = (part) => part.text ?? part.refusal ?? "";

function refusal(prose) {
  const node = make("div", "note refusal", make("strong", "", "The model declined."), prose.node);
  node.setAttribute("role", "note");
  return node;
}

class ReasoningView {
  #prose = new Prose();
  #title = make("summary", "", "Thinking…");
  node = make("details", "reasoning", this.#title, this.#prose.node);

  draw(item) {
    const parts = [...(item.summary ?? []), ...(item.content ?? [])];
    const text = parts.map((part) => part?.text ?? "").join("\n\n");
    this.#prose.set(text);
    this.node.hidden = !text;
    if (item.status === "completed") this.finish();
  }

  finish() {
    this.#title.textContent = "Reasoning";
  }
}

class CallView {
  #state = make("span", "card-state", "called");
  #arguments = make("pre", "", "");
  #output = make("pre", "", "");
  #result = make("div", "card-part", make("h4", "", "Output"), this.#output);
  #name = make("code", "card-name");

  constructor() {
    const head = make("div", "card-head", make("span", "card-kind", "Tool call"), this.#name, this.#state);
    const given = make("div", "card-part", make("h4", "", "Arguments"), this.#arguments);
    this.#result.hidden = true;
    this.node = make("section", "card", head, given, this.#result);
  }

  draw(item) {
    this.#name.textContent = item.name ?? item.type;
    this.node.setAttribute("aria-label", `Tool call ${item.name ?? item.type}`);
    this.#arguments.textContent = pretty(item.arguments || item.input || "{}");
  }

  answer(output) {
    this.#output.textContent = pretty(output);
    this.#result.hidden = false;
    this.#state.textContent = "done in this browser";
  }

  finish() {}
}

// Items this page has no picture for are named, and readable in the inspector.
class OtherView {
  #name = make("code", "card-name");
  #state = make("span", "card-state");
  node = make("section", "card", make("div", "card-head", this.#name, this.#state));

  draw(item) {
    this.#name.textContent = item.type;
    this.#state.textContent = item.status ?? "";
  }

  finish() {}
}

const VIEWS = {
  message: MessageView,
  reasoning: ReasoningView,
  function_call: CallView,
  custom_tool_call: CallView,
  mcp_call: CallView,
};

export class TurnView {
  #views = [];
  #items = make("div", "items");
  #wait = make("p", "waiting", make("span", "dots"), "Waiting for the model…");
  #after = make("div", "after");

  // announce(text) speaks to those who listen instead of look.
  constructor(say, announce) {
    this.announce = announce;
    this.answerNode = make("div", "answer", this.#items, this.#wait, this.#after);
    this.node = make("article", "turn", ...(say ? [said(say)] : []), this.answerNode);
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
    this.#views[index]?.answer(output.output);
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
      const View = VIEWS[item.type] ?? OtherView;
      this.#views[index] = new View(this.announce);
      this.#items.append(this.#views[index].node);
    }
    return this.#views[index];
  }
}

function said(text) {
  return make("div", "said", make("span", "unseen", "You said: "), text);
}
