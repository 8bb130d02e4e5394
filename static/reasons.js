// Why the page has no socket, or no server at all: a browser does not tell, HTTP does.

import { HttpError } from "./http.js";

// For each reason: its words, and whether answers can come over HTTP instead.
const REASONS = {
  key_missing: { text: "This server asks for an API key." },
  key_wrong: { text: "The server did not accept this key." },
  origin: {
    text:
      `The server refuses pages of ${location.origin}. Its operator lets them in with ` +
      "allowed_origins, or with a proxy that passes the Host header on.",
  },
  key_unsendable: {
    text: "This key has characters that a browser's WebSocket cannot send.",
    http: true,
  },
  subprotocol_off: {
    text:
      "The server takes no key with a browser's WebSocket " +
      "(browser_subprotocol is off in its configuration).",
    http: true,
  },
  sockets_blocked: {
    text: "WebSockets do not get through to the server; a proxy may block them.",
    http: true,
  },
  limit: { text: "The server refuses this address or key for a while: too many requests." },
  proxy: { text: "Something before the server answered in its place." },
  away: { text: "The server cannot be reached." },
};

export const reason = (code) => ({ code, http: false, ...REASONS[code] });

// Asked after a handshake that failed: { code, text, http }.
export async function whyNoSocket(http, key) {
  if (key && !isToken(key)) return reason("key_unsendable");
  try {
    await http.probe();
    const facts = await http.facts();
    return reason(key && !facts.browser_subprotocol ? "subprotocol_off" : "sockets_blocked");
  } catch (error) {
    return whyNoHttp(error, key);
  }
}

export function whyNoHttp(error, key) {
  if (!(error instanceof HttpError)) return reason("away");
  if (error.status === 401 && error.isOfBridge) return reason(key ? "key_wrong" : "key_missing");
  if (error.code === "origin_not_allowed") return reason("origin");
  if (error.status === 429) return reason("limit");
  if (error.isOfBridge) return { ...reason("proxy"), text: error.message };
  return { ...reason("proxy"), text: `${REASONS.proxy.text} It said ${error.status}.` };
}

// A subprotocol is a token of RFC 9110: not every text can be a key on a browser's socket.
function isToken(key) {
  return /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(key);
}
