// The open conversation: turns asked, drawn, continued with tool outputs, kept and restored.

import { Answer, callsOf, textOf } from "./answer.js";
import { eachFrame } from "./dom.js";
import { Follower } from "./follower.js";
import { continuation, History, retelling } from "./history.js";
import { metaOn, noteOn } from "./notes.js";
import { Run } from "./run.js";
import { GET_TIME, runTool } from "./tools.js";
import { TurnView } from "./view.js";

// A model that answers every output with another call must not run for ever unattended.
const MOST_TOOL_ROUNDS = 8;

export class Conversation {
  #history;
  #shown = []; // { turn, view }, oldest first
  #followers = [];
  #run = null;
  #isRestoring = false; // what was said before a reload is not said again

  // parts: shelf, connection, http, inspector, announce(text), warn(text), model(), offersTool(),
  // follows(), busy(isBusy), kept() when the shelf has changed, changed() when a turn is added or
  // all are gone
  constructor(node, parts) {
    Object.assign(this, parts, { node });
    this.#history = new History(parts.shelf, () =>
      this.warn("This browser has no room left: the conversation will not survive a reload."),
    );
  }

  get id() {
    return this.#history.id;
  }

  get isBusy() {
    return this.#run !== null;
  }

  get isEmpty() {
    return this.#history.turns.length === 0;
  }

  // attached: the parts of files and images
  send(text, attached = []) {
    const words = text ? [{ type: "input_text", text }] : [];
    const content = attached.length ? [...words, ...attached] : text;
    this.#turn([{ type: "message", role: "user", content }], text || namesOf(attached));
  }

  async stop() {
    try {
      await this.#run?.cancel();
    } catch {
      // Whatever the reason, the answer still runs and can be stopped again.
      this.warn("The stop did not reach the server.");
    }
  }

  // Another conversation; an answer that runs in this one runs on, and is there later.
  begin() {
    this.#leave();
    this.#history.begin();
    this.changed();
  }

  // The one with this id, or the one that was open before a reload.
  async open(id) {
    this.#leave();
    const turns = await this.#history.load(id);
    this.#isRestoring = true;
    for (const turn of turns) this.#restoreTurn(turn, this.#show(turn));
    this.#isRestoring = false;
    const last = this.#shown.at(-1);
    if (last && !this.isBusy) this.#callTools(last.turn);
    this.changed();
  }

  rename(title) {
    this.#history.rename(title);
  }

  #leave() {
    if (this.#run) {
      this.#run.forget();
      this.connection.lane.leave(this.#run);
      this.#idle();
    }
    this.follow(false);
    this.#shown = [];
    this.node.replaceChildren();
  }

  follow(isOn) {
    if (isOn) return this.#run && this.#followRun(this.#run, this.#shown.at(-1).view);
    for (const { follower, view } of this.#followers.splice(0)) {
      follower.stop();
      view.alone();
    }
    return undefined;
  }

  #turn(input, say, compose = continuation) {
    const fields = compose(this.#history.turns, input);
    const turn = this.#history.add(input, say);
    this.#save();
    const run = this.#begin(turn, this.#show(turn));
    const tools = this.offersTool() ? { tools: [GET_TIME] } : {};
    const frame = { type: "response.create", model: this.model(), ...fields, ...tools };
    this.inspector.add(frame, "sent");
    run.start(frame);
  }

  #show(turn) {
    const speak = (text) => this.#isRestoring || this.announce(text);
    const view = new TurnView(turn.say, attachedTo(turn.input), speak);
    this.#answerCalls(turn.input);
    this.#shown.at(-1)?.view.settle();
    this.#shown.push({ turn, view });
    this.node.append(view.node);
    this.changed();
    return view;
  }

  #answerCalls(input) {
    const before = this.#shown.at(-1);
    const outputs = input.filter((item) => item.type === "function_call_output");
    for (const output of outputs) before?.view.showOutput(before.turn.items, output);
  }

  #begin(turn, view) {
    const draw = eachFrame(() => {
      view.draw(run.answer.items);
      for (const { follower } of this.#followers) if (follower.run === run) follower.compare();
    });
    const run = new Run(new Answer(), this.connection, this.http, {
      event: (event, way) => this.inspector.add(event, way),
      change: draw,
      created: () => this.#keep(turn, run.answer),
      ended: () => this.#ended(turn, view, run),
    });
    this.#run = run;
    this.busy(true);
    if (this.follows()) this.#followRun(run, view);
    return run;
  }

  #followRun(run, view) {
    const follower = new Follower(run, this.http);
    this.#followers.push({ follower, view });
    view.beside(follower.node);
    follower.start();
  }

  #keep(turn, { id, status, items, error, incomplete, model, usage, ended }) {
    Object.assign(turn, { id, status, error, incomplete, model, usage });
    if (ended) turn.items = items;
    this.#save();
  }

  async #save() {
    await this.#history.save();
    this.kept();
  }

  #ended(turn, view, run) {
    turn.took = run.took;
    this.#keep(turn, run.answer);
    this.#idle();
    this.#finish(turn, view);
    this.#callTools(turn);
  }

  #idle() {
    this.#run = null;
    this.busy(false);
  }

  #finish(turn, view) {
    view.draw(turn.items);
    view.finish();
    const note = noteOn(turn);
    if (note) view.note(note.kind, note.text, this.#remedies(turn));
    view.meta(metaOn(turn, turn.took), textOf(turn.items));
  }

  #remedies(turn) {
    if (turn.status !== "failed") return [];
    if (turn.error?.code === "previous_response_not_found") {
      return [["Ask again with the whole conversation", () => this.#again(turn, retelling)]];
    }
    return [["Ask again", () => this.#again(turn, continuation)]];
  }

  #again(turn, compose) {
    if (this.isBusy) return;
    this.#history.remove(turn);
    this.#shown.pop().view.node.remove();
    this.#turn(turn.input, turn.say, compose);
  }

  #callTools(turn) {
    const calls = turn.status === "completed" ? callsOf(turn.items) : [];
    if (!calls.length) return;
    if (this.#toolRounds() < MOST_TOOL_ROUNDS) this.#turn(calls.map(runTool), "");
    else this.#shown.at(-1).view.note("warn", "The model called tools too many times in a row.");
  }

  #toolRounds() {
    const turns = this.#history.turns;
    return turns.length - 1 - turns.findLastIndex((turn) => turn.say);
  }

  #restoreTurn(turn, view) {
    if (turn.status === "waiting") {
      const message = "The page left before the answer began.";
      Object.assign(turn, { status: "failed", error: { code: "left", message } });
    }
    if (turn.status !== "in_progress" && turn.status !== "queued") return this.#finish(turn, view);
    const run = this.#begin(turn, view);
    run.answer.id = turn.id;
    return run.resume();
  }
}

// The parts of the user's message that are no words.
function attachedTo(input) {
  const content = input[0]?.role === "user" ? input[0].content : [];
  return typeof content === "string" ? [] : content.filter((part) => part.type !== "input_text");
}

function namesOf(parts) {
  return parts.map((part) => part.filename ?? "An image").join(", ");
}
