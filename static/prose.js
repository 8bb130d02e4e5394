// A model's text as paragraphs, headings, lists and code, drawn while it grows.
//
// Rule 1: text is only ever put into text nodes; there is no way from it to markup or an address.
// Rule 2: a finished block is never touched again: a frame costs what is still open.

import { button, make } from "./dom.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const HEADING = /^(#{1,6})\s+(.*)/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)/;
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^\s*][^*\n]*)\*(?![\w*])/g;
const MARKUP = ["code", "strong", "em"]; // in the order of INLINE's groups

// The blocks of `text` from `start` on: { kind, from, ... }.
export function parse(text, start = 0) {
  const blocks = [];
  let at = start;
  for (const line of text.slice(start).split("\n")) {
    const open = blocks.at(-1);
    if (!open || !continues(open, line)) blocks.push(begin(line, at));
    at += line.length + 1;
  }
  return blocks.filter((block) => block.kind !== "gap");
}

function begin(line, from) {
  const fence = FENCE.exec(line);
  if (fence) return { kind: "code", from, fence: fence[1], language: fence[2], lines: [] };
  if (!line.trim()) return { kind: "gap", from };
  const heading = HEADING.exec(line);
  if (heading) return { kind: "heading", from, level: heading[1].length, text: heading[2] };
  const item = ITEM.exec(line);
  if (item) return { kind: item[2] ? "ordered" : "list", from, first: item[2], items: [entry(item)] };
  return { kind: "paragraph", from, text: line };
}

function entry(item) {
  return { depth: Math.min(3, item[1].length >> 1), text: item[3] };
}

// Each takes one more line into the open block, or says that the line begins another one.
const CONTINUES = {
  gap: (_, line) => !line.trim(),
  heading: () => false,
  paragraph(block, line) {
    const item = ITEM.exec(line);
    const breaks = FENCE.test(line) || HEADING.test(line) || (item && (item[2] ?? "1") === "1");
    if (breaks || !line.trim()) return false;
    block.text += `\n${line}`;
    return true;
  },
  code(block, line) {
    if (block.closed) return false;
    if (line.trim().startsWith(block.fence) && !line.trim().replace(/[`~]+/, "")) {
      block.closed = true;
    } else block.lines.push(line);
    return true;
  },
  list: continuesList,
  ordered: continuesList,
};

const continues = (block, line) => CONTINUES[block.kind](block, line);

function continuesList(block, line) {
  const item = ITEM.exec(line);
  if (item) {
    const sameKind = item[1].length > 1 || Boolean(item[2]) === (block.kind === "ordered");
    if (sameKind) block.items.push(entry(item));
    return sameKind;
  }
  if (!line.trim() || !/^\s/.test(line)) return false;
  block.items.at(-1).text += `\n${line.trim()}`;
  return true;
}

// How each kind is made (once) and filled (as often as it grows).
const DRAW = {
  paragraph: { make: () => make("p"), fill: (node, block) => fillText(node, block.text) },
  heading: {
    make: (block) => make(block.level < 3 ? "h3" : "h4"),
    fill: (node, block) => fillText(node, block.text),
  },
  list: { make: () => make("ul"), fill: fillList },
  ordered: { make: () => make("ol"), fill: fillList },
  code: { make: makeCode, fill: fillCode },
};

function makeCode() {
  const code = make("code");
  const copy = button("Copy", "quiet", () => navigator.clipboard?.writeText(code.textContent));
  copy.setAttribute("aria-label", "Copy this code");
  const bar = make("div", "code-bar", make("span"), copy);
  const pre = make("pre", "", code);
  pre.tabIndex = 0; // it scrolls sideways, so the keyboard must reach it
  return make("div", "code-block", bar, pre);
}

function fillCode(node, block) {
  node.querySelector("span").textContent = block.language || "text";
  grow(node.querySelector("code"), block.lines.join("\n"));
}

function fillList(node, block) {
  const items = block.items.map((item) => {
    const entryNode = make("li", item.depth ? `depth-${item.depth}` : "");
    fillText(entryNode, item.text);
    return entryNode;
  });
  node.replaceChildren(...items);
  if (block.first) node.start = Number(block.first);
}

function fillText(node, text) {
  if (!/[`*]/.test(text)) grow(node, text);
  else node.replaceChildren(...inline(text));
}

// Lengthen a lone text node in place, so that a selection in it survives.
function grow(node, text) {
  const only = node.childNodes.length === 1 ? node.firstChild : null;
  if (only?.nodeType === Node.TEXT_NODE && text.startsWith(only.data)) {
    only.appendData(text.slice(only.data.length));
  } else node.replaceChildren(text);
}

function inline(text) {
  const pieces = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    const group = match.slice(1).findIndex((value) => value !== undefined);
    pieces.push(text.slice(at, match.index), make(MARKUP[group], "", match[group + 1]));
    at = match.index + match[0].length;
  }
  return [...pieces, text.slice(at)];
}

export class Prose {
  node = make("div", "prose");
  #text = "";
  #open = []; // blocks that may still change: { kind, from, node }

  // `spoken` hears each block's text once, when nothing can be added to it any more.
  constructor(spoken = () => {}) {
    this.spoken = spoken;
  }

  set(text) {
    if (text === this.#text) return;
    if (!text.startsWith(this.#text)) this.#clear();
    this.#text = text;
    const blocks = parse(text, this.#open[0]?.from ?? 0);
    blocks.forEach((block, index) => this.#draw(block, index));
    for (const gone of this.#open.splice(blocks.length)) gone.node.remove();
    this.#close();
  }

  finish() {
    for (const block of this.#open.splice(0)) this.spoken(block.node.textContent);
  }

  #draw(block, index) {
    const open = this.#open[index];
    const isSame = open?.kind === block.kind && open.from === block.from;
    if (!isSame) {
      for (const changed of this.#open.splice(index)) changed.node.remove();
      const fresh = { kind: block.kind, from: block.from, node: DRAW[block.kind].make(block) };
      this.#open.push(fresh);
      this.node.append(fresh.node);
    }
    DRAW[block.kind].fill(this.#open[index].node, block);
  }

  // A block is over when the next one began on a line that is whole: a line still growing, such as
  // a lone "-", may turn out to belong to the block before.
  #close() {
    const growing = this.#text.lastIndexOf("\n") + 1;
    while (this.#open.length > 1 && this.#open[1].from < growing) {
      this.spoken(this.#open.shift().node.textContent);
    }
  }

  #clear() {
    this.node.replaceChildren();
    this.#open = [];
  }
}
