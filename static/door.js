// Getting in: the API key, asked for only when the server wants one, and the list of models.

import { Backoff } from "./backoff.js";
import { byId, make } from "./dom.js";
import { whyNoHttp } from "./reasons.js";

const OTHER = ""; // the value of "Another name…"
const KEPT = "The key is kept in this tab only.";

export class Door {
  constructor(http, settings, banner) {
    Object.assign(this, { http, settings, banner });
    this.select = byId("model");
    this.other = byId("model-other");
    this.select.onchange = () => this.#choose(this.select.value);
    this.other.onchange = () => settings.set("model", this.other.value.trim());
  }

  get model() {
    return this.select.value || this.other.value.trim();
  }

  // Resolves when the server has been reached with a key it accepts, and its models are shown.
  async enter() {
    const models = await this.#models();
    this.#list(models.map((model) => model.id));
    this.banner("");
  }

  async #models() {
    const backoff = new Backoff();
    for (;;) {
      try {
        return await this.http.models();
      } catch (error) {
        const { code, text } = whyNoHttp(error, this.settings.key);
        if (code.startsWith("key_")) await this.askKey(text);
        else {
          this.banner(`${text} Trying again…`);
          await backoff.wait();
        }
      }
    }
  }

  // Resolves when the user has given a key that a browser can send.
  askKey(why) {
    const form = byId("key-form");
    const note = byId("key-note");
    byId("key-why").textContent = why;
    note.textContent = KEPT;
    form.hidden = false;
    byId("key").focus();
    return new Promise((resolve) => {
      form.onsubmit = (submit) => {
        submit.preventDefault();
        const key = byId("key").value.trim();
        if (!isHeader(key)) {
          note.textContent = "This key has characters that a browser cannot send.";
          return;
        }
        this.settings.set("key", key);
        form.hidden = true;
        byId("prompt").focus();
        resolve();
      };
    });
  }

  #list(ids) {
    const names = ids.filter((id) => !id.includes("*"));
    const patterns = ids.filter((id) => id.includes("*"));
    if (patterns.length) this.other.placeholder = patterns.join(", ");
    const options = names.map((name) => new Option(name, name));
    this.select.replaceChildren(...options, make("hr"), new Option("Another name…", OTHER));
    this.#restore(names);
  }

  #restore(names) {
    const chosen = this.settings.get("model", names[0] ?? OTHER);
    const isListed = names.includes(chosen);
    this.select.value = isListed ? chosen : OTHER;
    this.other.value = isListed ? "" : chosen;
    this.other.hidden = isListed;
  }

  #choose(name) {
    this.other.hidden = name !== OTHER;
    if (name === OTHER) this.other.focus();
    else this.settings.set("model", name);
  }
}

// What a header's value can be.
function isHeader(key) {
  return /^[\x21-\x7e]+$/.test(key);
}
