// The AI SDK's tool loop, driven by its standard input: the first line is the task, each further one
// the output of a tool, {"id", "output"}. It prints a line for each call of a tool, {"id", "name",
// "arguments"}, one for what the SDK warns of, {"warnings"}, and {"answer"} in the end.
//
// task: {url, key, model, prompt, hosted, isNamespaced, isHttp, isStreamed, isChained, isStored}

import { createInterface } from "node:readline";
import { setImmediate } from "node:timers/promises";

import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { socketFetch } from "./socket_fetch.mjs";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => JSON.parse((await lines.next()).value);
const print = (value) => console.log(JSON.stringify(value));

globalThis.AI_SDK_LOG_WARNINGS = ({ warnings }) => print({ warnings });

const task = await next();
const bridge = createOpenAI({
  baseURL: task.url,
  apiKey: task.key,
  fetch: task.isHttp ? undefined : socketFetch(),
});
const waiting = new Map();
let calls = 0;

async function listen() {
  while (waiting.size) {
    const { id, output } = await next();
    await setImmediate(); // a connection that was cut before this line was written is seen as closed
    waiting.get(id)(output);
    waiting.delete(id);
  }
}

function called(name, input) {
  const id = ++calls;
  const output = new Promise((resolve) => waiting.set(id, resolve));
  print({ id, name, arguments: input });
  if (waiting.size === 1) listen();
  return output;
}

const inputSchema = z.object({ city: z.string() });
const namespace = { name: "travel", description: "Trips." };
const client = (name, description) =>
  tool({
    description,
    inputSchema,
    execute: (input) => called(name, input),
    providerOptions: task.isNamespaced ? { openai: { namespace } } : undefined,
  });
const hosted = {
  "": {},
  tool_search: { tool_search: bridge.tools.toolSearch() },
  web_search: { web_search: bridge.tools.webSearch({}) },
  code_interpreter: { code_interpreter: bridge.tools.codeInterpreter({}) },
};

// What is new since the last answer, and the answer's id: the chain has the rest.
function chained({ steps, messages }) {
  if (!steps.length) return {};
  const last = messages.findLastIndex((message) => message.role === "assistant");
  const previousResponseId = steps.at(-1).response.id;
  return { messages: messages.slice(last + 1), providerOptions: { openai: { previousResponseId } } };
}

const own = {
  get_weather: client("get_weather", "The weather in a city."),
  book: client("book", "Book a trip."),
};
const ask = task.isStreamed ? streamText : generateText;
const result = ask({
  model: bridge(task.model),
  prompt: task.prompt,
  tools: task.isNamespaced
    ? { ...own, ...hosted[task.hosted] }
    : { ...hosted[task.hosted], ...own },
  stopWhen: stepCountIs(9),
  maxRetries: 0,
  prepareStep: task.isChained ? chained : undefined,
  onError: ({ error }) => {
    throw error;
  },
  providerOptions: {
    openai: {
      forceReasoning: true, // it knows models that think by their names
      reasoningEffort: "low",
      reasoningSummary: "auto",
      ...(task.isStored ? {} : { store: false }),
    },
  },
});
print({ answer: task.isStreamed ? await result.text : (await result).text });
process.exit();
