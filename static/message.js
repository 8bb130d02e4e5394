// A message of the model: its prose, its refusal, and the sources it names.

import { make } from "./dom.js";
import { linkTo } from "./links.js";
import { figure } from "./pictures.js";
import { Prose } from "./prose.js";

export class MessageView {
  node = make("div", "message");
  #parts = [];

  constructor(announce) {
    this.announce = announce;
  }

  draw(item) {
    (item.content ?? []).forEach((part, index) => part && this.#part(index, part).draw(part));
  }

  finish() {
    for (const part of this.#parts) part?.finish();
  }

  #part(index, part) {
    if (this.#parts[index]) return this.#parts[index];
    const view = part.image_url ? new PictureView() : new TextView(part.type, this.announce);
    this.#parts[index] = view;
    this.node.append(view.node);
    return view;
  }
}

class TextView {
  #prose;
  #sources = make("div");
  #named = "";

  constructor(type, announce) {
    this.#prose = new Prose(announce);
    const words = type === "refusal" ? refusal(this.#prose) : this.#prose.node;
    this.node = make("div", "", words, this.#sources);
  }

  draw(part) {
    this.#prose.set(part.text ?? part.refusal ?? "");
    const sources = sourcesOf(part.annotations ?? []);
    const named = JSON.stringify(sources);
    if (named === this.#named) return;
    this.#named = named;
    this.#sources.replaceChildren(...(sources.length ? [listOf(sources)] : []));
  }

  finish() {
    this.#prose.finish();
  }
}

class PictureView {
  node = make("div");

  draw(part) {
    if (!this.node.hasChildNodes()) this.node.append(figure(part.image_url, "Image of the model"));
  }

  finish() {}
}

// Each source once, in the order in which the text names them.
function sourcesOf(annotations) {
  const found = new Map();
  for (const note of annotations) {
    if (!note) continue;
    const cited = note.url_citation ?? note; // chat providers nest it
    const words = cited.title || cited.filename || cited.url || cited.file_id;
    if (words) found.set(cited.url ?? cited.file_id ?? words, { url: cited.url, words });
  }
  return [...found.values()];
}

function listOf(sources) {
  const items = sources.map(({ url, words }) => make("li", "", linkTo(url, words)));
  const node = make("div", "sources", make("h3", "", "Sources"), make("ol", "", ...items));
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", "Sources");
  return node;
}

function refusal(prose) {
  const node = make("div", "note refusal", make("strong", "", "The model declined."), prose.node);
  node.setAttribute("role", "note");
  return node;
}
