// The WebSocket: one connection, its default lane, reopened for as long as the page lives.
//
// Rule 1: a lane is first in, first out. `created` belongs to the oldest run that waits, everything
//         after it to that run until its terminal event; deltas name no response, so order decides.
// Rule 2: the lane knows no response's content; it hands events to the run they belong to.

import { Backoff } from "./backoff.js";

export const TERMINAL = new Set(["response.completed", "response.failed", "response.incomplete"]);

// A browser refuses a server that picks none of the offered names, and the key must not be the
// one picked: hence a second name, without a secret.
const PROTOCOL = "openai-beta.responses.v1";
const KEY_PROTOCOL = "openai-insecure-api-key.";

const HANDSHAKE_MS = 10_000; // something between may answer an upgrade never
const LONGEST_MS = 10_000;
const LONGEST_BLOCKED_MS = 120_000;

// Said by a connection that has reached its age: it closes when its last response has ended.
const CLOSING = "websocket_connection_limit_reached";

export class Lane {
  #backoff = new Backoff();
  #socket = null;
  #wasOpen = false;
  #unsent = []; // frames written before the socket opened
  #waiting = []; // runs whose create was sent, oldest first
  #current = null;

  // observer: opened(), closed(whether it never opened), which is awaited before the next try, and
  // stray(error frame, whether a reconnection follows anyway)
  constructor(credentials, observer) {
    this.credentials = credentials;
    this.observer = observer;
  }

  open() {
    if (this.#socket) return;
    const socket = begin(protocols(this.credentials.key));
    if (!socket) return void this.#tryLater(true);
    this.#socket = socket;
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = (message) => this.#receive(JSON.parse(message.data));
    socket.onclose = () => this.#closed(socket);
    setTimeout(() => socket.readyState === WebSocket.CONNECTING && this.drop(true), HANDSHAKE_MS);
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  // Give the socket up and open another one; its runs learn that they lost it.
  drop(refused = false) {
    const socket = this.#socket;
    socket?.close();
    if (socket) this.#closed(socket, refused); // the closing handshake of a dead peer takes too long
  }

  // The next try is due now.
  hurry() {
    this.#backoff.hurry();
  }

  // Where something between blocks sockets, tries are few.
  longestPause(isBlocked) {
    this.#backoff.longest = isBlocked ? LONGEST_BLOCKED_MS : LONGEST_MS;
  }

  // The creates that no socket has taken, with their runs; they are the caller's from now on.
  takeUnsent() {
    const frames = this.#unsent.splice(0).filter((frame) => frame.type === "response.create");
    const runs = this.#waiting.splice(this.#waiting.length - frames.length);
    return frames.map((frame, index) => ({ frame, run: runs[index] }));
  }

  create(frame, run) {
    this.#waiting.push(run);
    this.#send(frame);
  }

  // Cancel the run here if this socket carries it; false if it does not.
  cancel(run) {
    const isHere = this.#current === run || this.#waiting.includes(run);
    if (!this.isOpen || !isHere) return false;
    const { id } = run.answer;
    this.#send(id ? { type: "response.cancel", response_id: id } : { type: "response.cancel" });
    return true;
  }

  // True if no socket has taken the run's create: it is not sent any more.
  withdraw(run) {
    const unsent = this.takeUnsent();
    for (const other of unsent) if (other.run !== run) this.create(other.frame, other.run);
    return unsent.some((other) => other.run === run);
  }

  // The page looks away from a run: it goes on at the server, and the lane is free for another one.
  leave(run) {
    const isHere = this.#current === run || this.#waiting.includes(run);
    if (isHere && !this.withdraw(run)) this.drop();
  }

  #send(frame) {
    if (this.isOpen) this.#socket.send(JSON.stringify(frame));
    else this.#unsent.push(frame);
  }

  #opened(socket) {
    if (this.#socket !== socket) return;
    this.#backoff.reset();
    this.#wasOpen = true;
    this.observer.opened();
    for (const frame of this.#unsent.splice(0)) this.#send(frame);
  }

  #receive(event) {
    if (event.type === "response.created") this.#current = this.#waiting.shift() ?? null;
    if (event.type === "error") return this.#refuse(event);
    const run = this.#current;
    if (TERMINAL.has(event.type)) this.#current = null;
    run?.receive(event, "socket");
  }

  // An error answers the oldest create without `created`; it never ends a response that began.
  #refuse(frame) {
    const isOfSocket = frame.error.code === CLOSING;
    const run = isOfSocket ? null : this.#waiting.shift();
    if (run) run.refuse(frame);
    else this.observer.stray(frame, isOfSocket);
  }

  async #closed(socket, refused = !this.#wasOpen) {
    if (this.#socket !== socket) return; // given up before
    this.#wasOpen = false;
    this.#socket = null;
    this.#detach();
    await this.#tryLater(refused);
  }

  async #tryLater(refused) {
    await this.observer.closed(refused); // perhaps it is the key: a browser does not tell
    await this.#backoff.wait();
    this.open();
  }

  // Frames not sent yet go out on the next socket, and their runs wait on; the others lost theirs.
  #detach() {
    const unsent = this.#unsent.filter((frame) => frame.type === "response.create").length;
    const lost = this.#waiting.splice(0, this.#waiting.length - unsent);
    if (this.#current) lost.unshift(this.#current);
    this.#current = null;
    for (const run of lost) run.lost();
  }
}

// A socket, or null: not every key can be a subprotocol, and a browser refuses those at once.
function begin(names) {
  try {
    return new WebSocket(socketAddress(), names);
  } catch {
    return null;
  }
}

function socketAddress() {
  const address = new URL("v1/responses", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}

function protocols(key) {
  return key ? [PROTOCOL, KEY_PROTOCOL + key] : [];
}
