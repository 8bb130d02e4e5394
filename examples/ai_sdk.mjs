// Vercel's AI SDK over HTTP: a tool, and two turns, the second one streamed. npm install ai @ai-sdk/openai zod

import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const bridge = createOpenAI({
  baseURL: process.env.OPENAI_BASE_URL ?? "http://127.0.0.1:8787/v1",
  apiKey: process.env.OPENAI_API_KEY ?? "any",
});
const model = bridge(process.env.MODEL ?? "demo");

const weather = await generateText({
  model,
  prompt: "How is the weather in Paris?",
  stopWhen: stepCountIs(3),
  tools: {
    get_weather: tool({
      description: "The weather in a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => `rain in ${city}`,
    }),
  },
});
console.log(weather.text);

const first = await generateText({ model, prompt: "My name is Ada." });
const second = streamText({
  model,
  prompt: "What is my name?",
  providerOptions: { openai: { previousResponseId: first.response.id } },
});
for await (const text of second.textStream) process.stdout.write(text);
console.log();
// A text that was cut ends like any other: the reason says whether it is whole.
const reason = await second.finishReason;
if (reason !== "stop") throw new Error(`the answer is not whole: ${reason}`);
