// What the user sent: words, images, files.

import { make } from "./dom.js";
import { thumbnail } from "./pictures.js";

export function said(text, attached = []) {
  const heading = make("h2", "unseen", "You said: ");
  const files = attached.map(shown);
  const row = files.length ? [make("div", "said-files", ...files)] : [];
  return make("div", "said", heading, ...row, text);
}

function shown(part) {
  if (part.type === "input_image") return thumbnail(part.image_url, "An image you attached");
  return make("span", "chip", part.filename);
}
