// A `fetch` for clients that stream over HTTP alone: each create goes out on one WebSocket, and its
// events come back as server-sent ones. A socket that was closed is opened again.

import { WebSocket } from "undici";

const ENDS = ["response.completed", "response.failed", "response.incomplete", "error"];

function connect(url, authorization) {
  const socket = new WebSocket(url.replace(/^http/, "ws"), { headers: { authorization } });
  return new Promise((resolve, reject) => {
    socket.addEventListener("open", () => resolve(socket), { once: true });
    socket.addEventListener("error", ({ error }) => reject(error), { once: true });
  });
}

function answer(socket, create) {
  const encoder = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      const listening = new AbortController();
      const listen = (name, callback) =>
        socket.addEventListener(name, callback, { signal: listening.signal });
      listen("message", ({ data }) => {
        controller.enqueue(encoder.encode(`data: ${data}\n\n`));
        if (!ENDS.includes(JSON.parse(data).type)) return;
        listening.abort();
        controller.close();
      });
      listen("close", ({ code }) => controller.error(new Error(`the socket closed with ${code}`)));
      socket.send(JSON.stringify({ type: "response.create", ...create }));
    },
  });
}

export function socketFetch() {
  let socket;
  return async (url, { headers, body }) => {
    const { stream, ...create } = JSON.parse(body);
    if (socket?.readyState !== WebSocket.OPEN) {
      socket = await connect(String(url), new Headers(headers).get("authorization"));
    }
    return new Response(answer(socket, create), {
      headers: { "content-type": "text/event-stream" },
    });
  };
}
