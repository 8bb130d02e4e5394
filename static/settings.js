// What this tab remembers: the key, the model and the switches. Never longer than the tab lives.

const PLACE = "ws-bridge.settings";

export class Settings {
  #values = JSON.parse(sessionStorage.getItem(PLACE) ?? "{}");

  get(name, otherwise) {
    return this.#values[name] ?? otherwise;
  }

  set(name, value) {
    this.#values[name] = value;
    sessionStorage.setItem(PLACE, JSON.stringify(this.#values));
  }

  // Read by everything that needs the key, so that a new one counts at once.
  get key() {
    return this.get("key", "");
  }

  // A checkbox that is remembered.
  bind(checkbox, changed = () => {}) {
    checkbox.checked = this.get(checkbox.id, checkbox.checked);
    checkbox.addEventListener("change", () => {
      this.set(checkbox.id, checkbox.checked);
      changed(checkbox.checked);
    });
  }
}
