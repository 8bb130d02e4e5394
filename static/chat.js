// The page: its parts, put together, and what keys and buttons do.

import { Conversation } from "./conversation.js";
import { Door } from "./door.js";
import { button, byId, make } from "./dom.js";
import { Http } from "./http.js";
import { Inspector } from "./inspector.js";
import { Lane } from "./lane.js";
import { Settings } from "./settings.js";

const IDEAS = ["My name is Ada.", "Think first: what is a bridge?", "Please count to 100."];
const STATES = { connecting: "Connecting…", open: "Connected", lost: "Reconnecting…" };
const NEAR_END = 80; // px from the end of the conversation that still count as its end
const MOST_ANNOUNCED = 20;

const settings = new Settings();
const http = new Http(settings);
const inspector = new Inspector();
const door = new Door(http, settings, banner);
const lane = new Lane(settings, {
  state: showConnection,
  refused: () => door.enter(),
  stray(frame, isHealing) {
    inspector.add(frame, "socket");
    if (!isHealing) banner(frame.error.message);
  },
});
const conversation = new Conversation(byId("turns"), {
  lane,
  http,
  inspector,
  announce,
  warn: banner,
  model: () => door.model,
  offersTool: () => byId("offer-tool").checked,
  follows: () => byId("follow").checked,
  busy: showBusy,
  changed: showNewest,
});

function banner(text) {
  byId("banner").textContent = text;
  byId("banner").hidden = !text;
}

function showConnection(state) {
  byId("connection").dataset.state = state;
  byId("connection-text").textContent = STATES[state];
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
  isAtEnd = true;
  scrollToEnd();
}

// The composer

const prompt = byId("prompt");

function showBusy(isBusy) {
  const hadFocus = document.activeElement === byId("stop");
  byId("stop").hidden = !isBusy;
  byId("send").hidden = isBusy;
  if (hadFocus && !isBusy) prompt.focus();
  if (isBusy) announce("The model is answering.");
  checkPrompt();
}

function checkPrompt() {
  byId("send").disabled = conversation.isBusy || !prompt.value.trim();
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight + 2}px`;
}

function send() {
  const text = prompt.value.trim();
  if (!text || conversation.isBusy) return;
  if (!door.model) return banner("Choose a model first.");
  prompt.value = "";
  banner("");
  conversation.send(text);
  checkPrompt();
}

prompt.oninput = checkPrompt;
prompt.onkeydown = (key) => {
  if (key.key !== "Enter" || key.shiftKey || key.isComposing) return;
  key.preventDefault();
  send();
};
byId("composer").onsubmit = (submit) => {
  submit.preventDefault();
  send();
  prompt.focus();
};
byId("stop").onclick = () => conversation.stop();
byId("new").onclick = () => {
  conversation.clear();
  banner("");
  prompt.focus();
};
byId("ideas").append(
  ...IDEAS.map((idea) =>
    button(idea, "idea", () => {
      prompt.value = idea;
      prompt.focus();
      checkPrompt();
    }),
  ),
);

// The event inspector: beside the conversation, or over it where there is no room

const narrow = matchMedia("(max-width: 900px)");

function showInspector(isOpen) {
  inspector.open(isOpen);
  settings.set("inspector", isOpen);
  byId("inspector-toggle").setAttribute("aria-expanded", `${isOpen}`);
  byId("pane").inert = isOpen && narrow.matches;
}

byId("inspector-toggle").onclick = () => {
  showInspector(!inspector.isOpen);
  if (byId("pane").inert) byId("inspector-close").focus();
};
byId("inspector-close").onclick = closeInspector;
narrow.onchange = () => showInspector(inspector.isOpen);

function closeInspector() {
  showInspector(false);
  byId("inspector-toggle").focus();
}

document.addEventListener("keydown", (key) => {
  if (key.key !== "Escape" || key.isComposing) return;
  if (byId("pane").inert) closeInspector();
  else conversation.stop();
});

settings.bind(byId("offer-tool"));
settings.bind(byId("follow"), (isOn) => conversation.follow(isOn));
showInspector(settings.get("inspector", false) && !narrow.matches);
await door.enter();
conversation.restore();
lane.open();
