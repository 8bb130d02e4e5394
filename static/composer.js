// The composer: the message's words, its attachments, and when it may be sent.

import { Attachments, filesOf } from "./attachments.js";
import { byId } from "./dom.js";

export class Composer {
  #prompt = byId("prompt");
  #isBusy = false;

  // send(text, attached) returns whether it was sent; warn(text)
  constructor({ send, warn }) {
    this.send = send;
    this.attachments = new Attachments(byId("attached"), { warn, changed: () => this.check() });
    this.#prompt.oninput = () => this.check();
    this.#prompt.onkeydown = (key) => {
      if (key.key !== "Enter" || key.shiftKey || key.isComposing) return;
      key.preventDefault();
      this.#send();
    };
    byId("composer").onsubmit = (submit) => {
      submit.preventDefault();
      this.#send();
      this.focus();
    };
    this.#listenForFiles();
  }

  focus() {
    this.#prompt.focus();
  }

  fill(text) {
    this.#prompt.value = text;
    this.focus();
    this.check();
  }

  set isBusy(isBusy) {
    const hadFocus = document.activeElement === byId("stop");
    this.#isBusy = isBusy;
    byId("stop").hidden = !isBusy;
    byId("send").hidden = isBusy;
    if (hadFocus && !isBusy) this.focus();
    this.check();
  }

  check() {
    byId("send").disabled = this.#isBusy || this.#isEmpty;
    this.#prompt.style.height = "auto";
    this.#prompt.style.height = `${this.#prompt.scrollHeight + 2}px`;
  }

  get #isEmpty() {
    return !this.#prompt.value.trim() && this.attachments.isEmpty;
  }

  #send() {
    if (this.#isBusy || this.#isEmpty) return;
    if (!this.send(this.#prompt.value.trim(), this.attachments)) return;
    this.#prompt.value = "";
    this.check();
  }

  #listenForFiles() {
    const input = byId("files");
    byId("attach").onclick = () => input.click();
    input.onchange = async () => {
      await this.attachments.add([...input.files]);
      input.value = ""; // the same file can be chosen again
      this.focus();
    };
    this.#prompt.onpaste = (paste) => this.#take(paste, paste.clipboardData);
    document.ondragover = (drag) => {
      if (!drag.dataTransfer.types.includes("Files")) return;
      drag.preventDefault();
      byId("composer").classList.add("dropping");
    };
    document.ondragleave = (drag) => {
      if (!drag.relatedTarget) byId("composer").classList.remove("dropping");
    };
    document.ondrop = (drop) => {
      byId("composer").classList.remove("dropping");
      this.#take(drop, drop.dataTransfer);
    };
  }

  #take(event, transfer) {
    const files = filesOf(transfer);
    if (!files.length) return;
    event.preventDefault();
    this.attachments.add(files);
  }
}
