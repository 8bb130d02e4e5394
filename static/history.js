// A conversation's turns: what the next request continues from, and what survives a reload.
//
// Rule 1: only completed and incomplete responses can be continued from; the model is told of a
//         stopped turn by its words, and of a failed one only the tool outputs it still owes.
// Rule 2: kept in this browser until deleted; which one is open, in this tab only.

import { textOf } from "./answer.js";
import { randomName } from "./dom.js";

const OPEN = "ws-bridge.open";
const OLD = "ws-bridge.conversation"; // where releases before the list kept a tab's one conversation
const LONGEST_TITLE = 60;
const CHAINABLE = new Set(["completed", "incomplete"]);

// A turn: { input: items sent, say: the user's words or "", id, status, items: the answer's,
// error, incomplete, model }
export class History {
  #record = fresh();

  // failed(error) when the browser could not keep it.
  constructor(shelf, failed) {
    Object.assign(this, { shelf, failed });
  }

  get id() {
    return this.#record.id;
  }

  get turns() {
    return this.#record.turns;
  }

  add(input, say) {
    const turn = { input, say, id: null, status: "waiting", items: [] };
    this.turns.push(turn);
    this.#record.title ||= titleOf(say);
    return turn;
  }

  remove(turn) {
    this.#record.turns = this.turns.filter((other) => other !== turn);
  }

  // Begin another one; this one stays on the shelf.
  begin() {
    this.#open(fresh());
  }

  // The one with this id, or the one that was open before a reload, or a new one.
  async load(id = sessionStorage.getItem(OPEN)) {
    const found = id && (await this.shelf.get(id));
    this.#open(found || old() || fresh());
    return this.turns;
  }

  rename(title) {
    this.#record.title = title;
  }

  async save() {
    this.#record.updated = Date.now();
    try {
      await this.shelf.put(this.#record);
    } catch (error) {
      this.failed(error);
    }
  }

  #open(record) {
    this.#record = record;
    sessionStorage.setItem(OPEN, record.id);
  }
}

function fresh() {
  return { id: randomName(), title: "", updated: 0, turns: [] };
}

function old() {
  const turns = JSON.parse(sessionStorage.getItem(OLD) ?? "[]");
  sessionStorage.removeItem(OLD);
  return turns.length ? { ...fresh(), title: titleOf(turns[0].say), turns } : null;
}

function titleOf(text) {
  const line = text.trim().replaceAll(/\s+/g, " ");
  return line.length > LONGEST_TITLE ? `${line.slice(0, LONGEST_TITLE - 1)}…` : line;
}

// The fields of the request that continues these turns with new input.
export function continuation(turns, input) {
  const at = turns.findLastIndex((turn) => CHAINABLE.has(turn.status));
  const carried = turns.slice(at + 1).flatMap(carry);
  const fields = { input: [...carried, ...input] };
  return at < 0 ? fields : { previous_response_id: turns[at].id, ...fields };
}

// The same without the server's memory: everything said, once more.
export function retelling(turns, input) {
  const told = turns.flatMap((turn) => (CHAINABLE.has(turn.status) ? tell(turn) : carry(turn)));
  return { input: [...told, ...input] };
}

function carry(turn) {
  if (turn.status === "cancelled") return [...turn.input, ...spoken(textOf(turn.items))];
  return turn.input.filter((item) => item.type === "function_call_output");
}

function tell(turn) {
  return [...turn.input, ...turn.items.flatMap(retell)];
}

function retell(item) {
  if (item.type === "message") return spoken(textOf([item]));
  if (item.type !== "function_call") return [];
  const { type, call_id, name, arguments: text } = item;
  return [{ type, call_id, name, arguments: text }];
}

function spoken(text) {
  if (!text) return [];
  return [{ type: "message", role: "assistant", content: [{ type: "output_text", text }] }];
}
