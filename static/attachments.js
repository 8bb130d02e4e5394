// Files and images for the next message: by the button, pasted, or dropped.
//
// Rule: all of them together with the message fit into one message of the server's largest size; as
//       data URLs they are a third larger than the files.

import { button, make } from "./dom.js";
import { thumbnail } from "./pictures.js";

const IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const SHARE = 0.9; // of a message; the rest is for words and for what the turn carries beside
const USUAL_BYTES = 64 * 2 ** 20;
const GROWTH = 4 / 3;

export class Attachments {
  #files = []; // { name, type, size, url }
  #most = USUAL_BYTES;

  // changed(), warn(text)
  constructor(node, parts) {
    Object.assign(this, { node, ...parts });
  }

  // The largest message that the server takes, in bytes.
  set messageBytes(bytes) {
    this.#most = bytes;
  }

  get isEmpty() {
    return this.#files.length === 0;
  }

  async add(files) {
    for (const file of files) {
      if (this.#size() + file.size > this.#room()) {
        this.warn(`${file.name} is too large: files may have ${inMib(this.#room())} together.`);
      } else await this.#read(file);
    }
  }

  // The parts of the message, and none is left.
  take() {
    const parts = this.#files.map(partOf);
    this.#files = [];
    this.#draw();
    return parts;
  }

  #room() {
    return Math.floor((this.#most * SHARE) / GROWTH);
  }

  #size() {
    return this.#files.reduce((sum, file) => sum + file.size, 0);
  }

  async #read(file) {
    try {
      const name = file.name || "pasted";
      this.#files.push({ name, type: file.type, size: file.size, url: await dataUrl(file) });
      this.#draw();
    } catch {
      this.warn(`${file.name} cannot be read.`); // a folder, or a file that is gone
    }
  }

  #draw() {
    this.node.replaceChildren(...this.#files.map((file) => this.#chip(file)));
    this.node.hidden = this.isEmpty;
    this.changed();
  }

  #chip(file) {
    const picture = IMAGES.has(file.type) ? [thumbnail(file.url, "")] : [];
    const remove = button("×", "quiet", () => {
      this.#files = this.#files.filter((other) => other !== file);
      this.#draw();
    });
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    const size = make("span", "chip-size", inMib(file.size));
    return make("li", "chip", ...picture, make("span", "chip-name", file.name), size, remove);
  }
}

// A drop or a paste with files; the rest stays the browser's.
export const filesOf = (transfer) => [...(transfer?.files ?? [])];

function partOf({ name, type, url }) {
  if (IMAGES.has(type)) return { type: "input_image", image_url: url, detail: "auto" };
  return { type: "input_file", filename: name, file_data: url };
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(typed(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

// Of a file whose type the browser does not know.
const typed = (url) => url.replace(/^data:;base64/, "data:application/octet-stream;base64");

function inMib(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  if (bytes < 2 ** 20) return `${Math.round(bytes / 1024)} KiB`;
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
