// Markdown to elements: marked reads it, DOMPurify lets through what is harmless.
//
// Rule 1: the only way from a model's text to markup is `fragmentOf`, through the sanitizer. The
//         page's Trusted Types policy refuses any other.
// Rule 2: nothing is fetched because a model says so: an image of another host becomes a link.

import { make } from "./dom.js";
import { safeAddress } from "./links.js";
import { Marked } from "./vendor/marked.esm.js";
import DOMPurify from "./vendor/purify.es.mjs";

const TAGS = (
  "a blockquote br code del em h3 h4 h5 h6 hr img input kbd li mark ol p pre s strong sub sup " +
  "table tbody td th thead tr u ul"
).split(" ");
const ATTRIBUTES = "align alt checked class disabled href src start title type".split(" ");
const POLICY = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ATTRIBUTES,
  ADD_URI_SAFE_ATTR: ["align", "start", "type"], // no addresses
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i, // data: passes for images, and only there
  RETURN_DOM_FRAGMENT: true,
};

// Markup that models use for lack of Markdown; all other markup is shown as the text it is.
const PLAIN_TAG = /^<\/?(?:br|kbd|mark|sub|sup|u)\s*\/?>$/i;
const IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+$/;
const DEEPEST = 6;
const OUTER_LEVELS = 2; // the page's own headings

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }) => (PLAIN_TAG.test(text.trim()) ? text : escaped(text)),
    heading({ tokens, depth }) {
      const level = Math.min(DEEPEST, depth + OUTER_LEVELS);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
    image({ href, text }) {
      const words = escaped(text || "image");
      if (IMAGE.test(href)) return `<img src="${escaped(href)}" alt="${words}">`;
      return safeAddress(href) ? `<a href="${escaped(href)}">${words}</a>` : words;
    },
  },
});

// The blocks of `text`, as marked's tokens.
export function blocksOf(text) {
  return marked.lexer(text);
}

export function fragmentOf(token) {
  const fragment = DOMPurify.sanitize(marked.parser([token]), POLICY);
  for (const link of fragment.querySelectorAll("a")) openElsewhere(link);
  for (const pre of fragment.querySelectorAll("pre")) pre.replaceWith(codeBlock(pre));
  for (const table of fragment.querySelectorAll("table")) wrapTable(table);
  for (const box of fragment.querySelectorAll("input")) nameTask(box);
  return fragment;
}

function openElsewhere(link) {
  if (!link.hasAttribute("href")) return link.replaceWith(...link.childNodes);
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  return undefined;
}

// What scrolls sideways can be reached by the keyboard.
function wrapTable(table) {
  const wrap = make("div", "table");
  wrap.tabIndex = 0;
  table.replaceWith(wrap);
  wrap.append(table);
}

function nameTask(box) {
  if (box.type !== "checkbox") return box.remove();
  box.disabled = true;
  box.setAttribute("aria-label", box.checked ? "Done" : "To do");
  return undefined;
}

function codeBlock(pre) {
  const code = make("code", "", pre.textContent.replace(/\n$/, ""));
  const language = /language-([\w+#.-]+)/.exec(pre.firstElementChild?.className ?? "")?.[1];
  const copy = make("button", "quiet copy", "Copy");
  copy.type = "button";
  copy.setAttribute("aria-label", "Copy this code");
  const bar = make("div", "code-bar", make("span", "", language ?? "text"), copy);
  const body = make("pre", "", code);
  body.tabIndex = 0;
  return make("div", "code-block", bar, body);
}

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escaped(text) {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character]);
}
