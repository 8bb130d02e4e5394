// The page: its parts, put together, and what keys and buttons do.

import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Door } from "./door.js";
import { button, byId, make } from "./dom.js";
import { download, report } from "./export.js";
import { Http } from "./http.js";
import { Inspector } from "./inspector.js";
import { ConversationList } from "./list.js";
import { Panels } from "./panels.js";
import { Settings } from "./settings.js";
import { Shelf } from "./shelf.js";
import { Status } from "./status.js";

const IDEAS = ["My name is Ada.", "Think first: what is a bridge?", "Please count to 100."];
const NEAR_END = 80; // px from the end of the conversation that still count as its end
const MOST_ANNOUNCED = 20;

const settings = new Settings();
const http = new Http(settings);
const inspector = new Inspector();
const shelf = new Shelf();
const door = new Door(http, settings, banner);
const status = new Status(() => connection.retryAll());
const connection = new Connection(http, settings, {
  changed: showConnection,
  needsKey: () => door.enter(),
  stray(frame, isHealing) {
    inspector.add(frame, "socket");
    if (!isHealing) banner(frame.error.message);
  },
});
const composer = new Composer({ send, warn: banner });
const conversation = new Conversation(byId("turns"), {
  shelf,
  connection,
  http,
  inspector,
  announce,
  warn: banner,
  model: () => door.model,
  offersTool: () => byId("offer-tool").checked,
  follows: () => byId("follow").checked,
  busy: showBusy,
  kept: () => list.draw(),
  changed: showNewest,
});
const list = new ConversationList(byId("conversations"), shelf, {
  open: openConversation,
  renamed: (id, title) => id === conversation.id && conversation.rename(title),
  removed: forget,
});

// A sentence above the composer, with a button for what can be done: [label, action].
function banner(text, action = null) {
  const act = () => {
    banner("");
    action[1]();
  };
  byId("banner").replaceChildren(text, ...(action ? [button(action[0], "small", act)] : []));
  byId("banner").hidden = !text;
}

function showConnection(state, reason) {
  status.show(state, reason);
  inspector.add({ type: `connection.${state}`, ...(reason && { reason: reason.text }) }, "page");
  const isCut = state === "lost" && conversation.isBusy;
  banner(isCut ? "The connection was lost. Reconnecting; the answer goes on over HTTP." : "");
}

// Spoken by screen readers, a finished paragraph at a time.
function announce(text) {
  const announcer = byId("announcer");
  announcer.append(make("p", "", text));
  while (announcer.childElementCount > MOST_ANNOUNCED) announcer.firstElementChild.remove();
}

// The conversation stays at its end unless the reader has left it.

const scroller = byId("conversation");
let isAtEnd = true;
scroller.onscroll = () => {
  isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
};

const sizes = new ResizeObserver(() => isAtEnd && scrollToEnd());
for (const grows of [scroller, byId("turns")]) sizes.observe(grows);

function scrollToEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

function showNewest() {
  byId("empty").hidden = !conversation.isEmpty;
  list.current = conversation.id;
  list.draw();
  isAtEnd = true;
  scrollToEnd();
}

// Turns

function send(text, attachments) {
  if (!door.model) {
    banner("Choose a model first.");
    return false;
  }
  banner("");
  conversation.send(text, attachments.take());
  return true;
}

function showBusy(isBusy) {
  composer.isBusy = isBusy;
  if (isBusy) announce("The model is answering.");
}

byId("stop").onclick = () => conversation.stop();
byId("ideas").append(...IDEAS.map((idea) => button(idea, "idea", () => composer.fill(idea))));

// Conversations

byId("new").onclick = () => {
  conversation.begin();
  banner("");
  composer.focus();
};

async function openConversation(id) {
  banner("");
  if (panels.isOver) panels.closeOver();
  await conversation.open(id);
  composer.focus();
}

// Deleted from the shelf; the button puts it back.
function forget(record) {
  if (record.id === conversation.id) conversation.begin();
  const restore = async () => {
    await shelf.put(record);
    await list.draw();
  };
  banner(`“${record.title}” was deleted.`, ["Undo", restore]);
}

// The panels

const panels = new Panels(settings);
panels.add("inspector", false, (isOpen) => inspector.open(isOpen));
panels.add("list", false, (isOpen) => isOpen && list.draw());
byId("events-export").onclick = () => {
  const made = new Date().toISOString();
  const page = {
    ...{ made, address: location.origin + location.pathname, browser: navigator.userAgent },
    ...{ connection: connection.state, model: door.model, key: settings.key },
  };
  download(`ws-bridge-events-${made.replaceAll(":", "-")}.json`, report(inspector.entries, page));
};

document.addEventListener("keydown", (key) => {
  if (key.key !== "Escape" || key.isComposing) return;
  if (panels.isOver) panels.closeOver();
  else conversation.stop();
});

// Beside a panel that lies over the conversation is nothing else to click on.
document.addEventListener("click", (click) => {
  if (panels.isOver && click.target === document.body) panels.closeOver();
});

settings.bind(byId("offer-tool"));
settings.bind(byId("follow"), (isOn) => conversation.follow(isOn));
await door.enter();
const facts = await http.facts();
composer.attachments.messageBytes = facts.max_message_bytes;
await conversation.open();
connection.open();
