// Images of models and of users. Only data URLs are shown: nothing is fetched from another host.

import { make } from "./dom.js";
import { linkTo } from "./links.js";

const SHOWN = /^data:image\/(?:png|jpeg|gif|webp);base64,/;

// The image, or a link to where it is.
export function figure(address, name) {
  if (!SHOWN.test(address)) return make("p", "", linkTo(address, name));
  const image = make("img", "picture");
  image.src = address;
  image.alt = name;
  image.decoding = "async";
  const save = make("a", "save", "Save the image");
  save.href = address;
  save.download = `image.${/^data:image\/(\w+)/.exec(address)[1]}`;
  return make("figure", "", image, make("figcaption", "", save));
}

export function thumbnail(address, name) {
  const image = make("img", "thumbnail");
  image.alt = name;
  if (SHOWN.test(address)) image.src = address;
  return image;
}
