// The one tool this page offers: harmless, and run in the browser.

export const GET_TIME = {
  type: "function",
  name: "get_time",
  description: "The current date and time, in the user's time zone unless another one is named.",
  parameters: {
    type: "object",
    properties: {
      time_zone: { type: "string", description: "An IANA time zone, such as Europe/Berlin." },
    },
    additionalProperties: false,
  },
  strict: false,
};

// The output item for a call; a call the page cannot run gets an output that says so, because a
// call without an output would block the conversation.
export function runTool(call) {
  const output = call.name === GET_TIME.name ? getTime(call.arguments) : unknown(call.name);
  return { type: "function_call_output", call_id: call.call_id, output };
}

function unknown(name) {
  return JSON.stringify({ error: `This page has no tool named ${name}.` });
}

function getTime(text) {
  try {
    const { time_zone: timeZone } = JSON.parse(text || "{}");
    return JSON.stringify(timeIn(timeZone || undefined));
  } catch (error) {
    return JSON.stringify({ error: error.message }); // not JSON, or no time zone of that name
  }
}

function timeIn(timeZone) {
  const format = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long", timeZone });
  return { time: format.format(new Date()), time_zone: format.resolvedOptions().timeZone };
}
