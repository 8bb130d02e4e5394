// Addresses that came from a model or a provider, and the links to them.

import { make } from "./dom.js";

const SCHEMES = new Set(["http:", "https:", "mailto:"]);

// The address if a person may be sent there, else null.
export function safeAddress(text) {
  try {
    const address = new URL(text); // a relative one would lead into this server
    return SCHEMES.has(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}

// A link that opens elsewhere and tells nothing of this page; plain words where that is not safe.
export function linkTo(address, words) {
  const href = safeAddress(address);
  if (!href) return make("span", "", words || address || "");
  const link = make("a", "", words || href);
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  return link;
}
