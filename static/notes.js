// What is said about an answer's end, in words for people.

const INCOMPLETE = {
  max_output_tokens: "The answer was cut off: it reached the limit of tokens.",
  content_filter: "The answer was cut off by a content filter.",
  interrupted: "The answer was interrupted.",
  steered: "The answer was steered in another direction.",
};

// Words for codes where the server's own would leave a person alone.
const ERRORS = {
  previous_response_not_found: "The server no longer remembers this conversation.",
  not_found: "The server no longer has this answer.",
  server_draining: "The server is restarting. Ask again in a moment.",
  rate_limit_exceeded: "Too many requests. Ask again in a moment.",
};

// { kind, text } or nothing when there is nothing to say.
export function noteOn({ status, error, incomplete }) {
  if (status === "cancelled") return { kind: "calm", text: "Stopped." };
  if (status === "incomplete") {
    const reason = incomplete?.reason ?? "unknown";
    return { kind: "warn", text: INCOMPLETE[reason] ?? `The answer is incomplete: ${reason}.` };
  }
  return status === "failed" ? { kind: "bad", text: failure(error ?? {}) } : null;
}

function failure({ code, message }) {
  const words = ERRORS[code];
  if (words && message) return `${words} (${message})`;
  return words ?? message ?? "The answer failed.";
}

export function metaOn({ model, usage }, took) {
  const facts = [model];
  if (usage) facts.push(`${usage.input_tokens} tokens in, ${usage.output_tokens} out`);
  if (took) facts.push(duration(took));
  return facts.filter(Boolean).join(" · ");
}

function duration(ms) {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
}
