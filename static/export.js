// What the inspector saw, as a file for a bug report, without secrets.
//
// Rule 1: keys, tokens and headers are left out by their names and by their looks, and this page's
//         own key wherever it stands.
// Rule 2: data that is no text (images, files, sealed reasoning) is left out but for its length.

const REMOVED = "[removed]";
const SECRET_NAMES =
  /^(?:.*[_-])?(?:authorization|api[_-]?key|apikey|headers|cookie|token|secret|password|credentials?)$/i;
// Bearer tokens, keys as providers write them, a browser's subprotocol with a key.
const SECRET_LOOKS =
  /\b(?:Bearer\s+\S+|openai-insecure-api-key\.\S+|(?:sk|pk|rk|gsk|xai|key)[-_][A-Za-z0-9_-]{12,}|AIza[\w-]{20,}|AKIA[A-Z0-9]{12,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+)/g;
// Names and passwords in addresses, and queries, which often hold signatures.
const USER = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi;
const QUERY = /(\b(?:https?|wss?):\/\/[^\s?"'<>]+\?)[^\s"'<>)]+/gi;
const DATA_URL = /data:([\w.+-]+\/[\w.+-]+)?((?:;[\w=.-]+)*),[A-Za-z0-9+/=_%-]{64,}/g;
const BASE64 = /^[A-Za-z0-9+/=_.-]{512,}$/;

export function report(entries, page) {
  const { key, ...facts } = page;
  return redact({ format: "ws-bridge-events-1", ...facts, events: entries }, key);
}

export function redact(value, key) {
  if (typeof value === "string") return cleaned(value, key);
  if (Array.isArray(value)) return value.map((one) => redact(one, key));
  if (value === null || typeof value !== "object") return value;
  const pairs = Object.entries(value).map(([name, one]) => [
    cleaned(name, key),
    SECRET_NAMES.test(name) && one !== null ? REMOVED : redact(one, key),
  ]);
  return Object.fromEntries(pairs);
}

function cleaned(text, key) {
  const ours = key ? text.replaceAll(key, REMOVED) : text;
  if (BASE64.test(ours)) return `[${ours.length} characters]`;
  return ours
    .replace(DATA_URL, (all, type = "", more = "") => `data:${type}${more},[${all.length} characters]`)
    .replace(USER, `$1${REMOVED}@`)
    .replace(QUERY, `$1${REMOVED}`)
    .replace(SECRET_LOOKS, REMOVED);
}

export function download(name, value) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(
    new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }),
  );
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000); // the browser has begun by then
}
