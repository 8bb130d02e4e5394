// Two turns on one WebSocket. npm install openai ws

import OpenAI from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";

const model = process.env.MODEL ?? "demo";
const client = new OpenAI({
  baseURL: process.env.OPENAI_BASE_URL ?? "http://127.0.0.1:8787/v1",
  apiKey: process.env.OPENAI_API_KEY ?? "any",
});
const socket = new ResponsesWS(client);

// Print the answer, and return the response.
async function turn(create) {
  socket.send({ type: "response.create", model, ...create });
  for await (const event of socket) {
    if (event.type === "error") throw event.error;
    if (event.type === "close") break;
    if (event.type !== "message") continue;
    const { message } = event;
    if (message.type === "response.output_text.delta") process.stdout.write(message.delta);
    if (message.type === "response.failed") throw new Error(message.response.error.message);
    if (message.type === "response.incomplete") throw new Error("the answer is not whole");
    if (message.type === "response.completed") {
      console.log();
      return message.response;
    }
  }
  throw new Error("the socket was closed before the answer's end");
}

const first = await turn({ input: "My name is Ada." });
await turn({ input: "What is my name?", previous_response_id: first.id });
socket.close();
