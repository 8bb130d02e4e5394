// A conversation's turns: what the next request continues from, and what survives a reload.
//
// Rule 1: only completed and incomplete responses can be continued from; the model is told of a
//         stopped turn by its words, and of a failed one only the tool outputs it still owes.
// Rule 2: kept for this tab only (sessionStorage), and no larger than the browser allows.

import { textOf } from "./answer.js";

const PLACE = "ws-bridge.conversation";
const CHAINABLE = new Set(["completed", "incomplete"]);

// A turn: { input: items sent, say: the user's words or "", id, status, items: the answer's,
// error, incomplete, model }
export class History {
  turns = [];

  add(input, say) {
    const turn = { input, say, id: null, status: "waiting", items: [] };
    this.turns.push(turn);
    this.save();
    return turn;
  }

  remove(turn) {
    this.turns = this.turns.filter((other) => other !== turn);
    this.save();
  }

  clear() {
    this.turns = [];
    this.save();
  }

  load() {
    this.turns = JSON.parse(sessionStorage.getItem(PLACE) ?? "[]");
    return this.turns;
  }

  save() {
    for (let turns = this.turns; ; turns = turns.slice(Math.ceil(turns.length / 2))) {
      try {
        sessionStorage.setItem(PLACE, JSON.stringify(turns));
        return;
      } catch (error) {
        if (error.name !== "QuotaExceededError" || !turns.length) throw error;
      }
    }
  }
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
