// A model's text as paragraphs, headings, lists, tables and code, drawn while it grows.
//
// Rule 1: a finished block is never touched again: a frame costs what is still open.
// Rule 2: however the text was cut, it looks as if it had come whole.

import { make } from "./dom.js";
import { blocksOf, fragmentOf } from "./markdown.js";
import { patchChildren } from "./patch.js";

// A reference such as "[1]: https://…" makes links of words in any block, before it and after it.
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;
const OPEN = 2; // blocks on whole lines that may still change

export class Prose {
  node = make("div", "prose");
  #text = "";
  #blocks = []; // { start, type, raw, node }, all of them
  #closed = 0; // of these, how many are finished
  #spokenTo = 0;

  // `spoken` hears each block's text once, when nothing can be added to it any more.
  constructor(spoken = () => {}) {
    this.spoken = spoken;
    this.node.onclick = (click) => copyCode(click.target.closest("button.copy"));
  }

  set(text) {
    if (text === this.#text) return;
    if (!text.startsWith(this.#text)) this.#clear();
    this.#text = text;
    const refers = DEFINITION.test(text);
    if (refers) this.#closed = 0;
    const tokens = visible(text, this.#blocks[this.#closed]?.start ?? 0);
    tokens.forEach((token, index) => this.#draw(token, this.#closed + index, refers));
    const count = this.#closed + tokens.length;
    for (const gone of this.#blocks.splice(count)) gone.node.remove();
    this.#close(refers);
  }

  finish() {
    this.#speak(this.#blocks);
  }

  #draw({ start, token }, index, refers) {
    const { type, raw } = token;
    const block = this.#blocks[index];
    if (!block) {
      const node = make("div", "block", fragmentOf(token));
      this.#blocks.push({ start, type, raw, node });
      this.node.append(node);
    } else if (block.raw !== raw || block.type !== type || (refers && raw.includes("["))) {
      patchChildren(block.node, fragmentOf(token));
      Object.assign(block, { start, type, raw });
    }
  }

  // A line still growing, such as a lone "-", may turn out to belong to the block before.
  #close(refers) {
    const growing = this.#text.lastIndexOf("\n") + 1;
    const whole = this.#blocks.filter((block) => block.start < growing).length;
    const closed = Math.max(this.#closed, whole - OPEN);
    this.#speak(this.#blocks.slice(0, closed));
    this.#closed = refers ? 0 : closed;
  }

  #speak(blocks) {
    for (const { start, raw, node } of blocks) {
      if (start < this.#spokenTo) continue;
      this.#spokenTo = start + raw.length;
      const words = wordsOf(node);
      if (words) this.spoken(words);
    }
  }

  #clear() {
    this.node.replaceChildren();
    this.#blocks = [];
    this.#closed = 0;
    this.#spokenTo = 0;
  }
}

// The blocks from an offset on that show something, each with its own offset.
function visible(text, from) {
  let start = from;
  const found = [];
  for (const token of blocksOf(text.slice(from))) {
    if (token.type !== "space" && token.type !== "def") found.push({ start, token });
    start += token.raw.length;
  }
  return found;
}

function wordsOf(node) {
  const copy = node.cloneNode(true);
  for (const bar of copy.querySelectorAll(".code-bar")) bar.remove();
  return copy.textContent.trim();
}

function copyCode(button) {
  const block = button?.closest(".code-block");
  if (block) navigator.clipboard?.writeText(block.querySelector("code").textContent);
}
