// The panels beside the conversation: the list and the events. Where there is no room they lie over
// it, one at a time, and have the focus.

import { byId } from "./dom.js";

const narrow = matchMedia("(max-width: 900px)");

export class Panels {
  #panels = new Map();

  constructor(settings) {
    this.settings = settings;
    narrow.onchange = () => {
      for (const name of this.#panels.keys()) this.show(name, this.isOpen(name));
    };
  }

  // shown(isOpen) is called after each change.
  add(name, isOpenAtFirst, shown = () => {}) {
    const node = byId(name);
    const toggle = byId(`${name}-toggle`);
    this.#panels.set(name, { node, toggle, shown, role: node.getAttribute("role") });
    toggle.onclick = () => {
      this.show(name, !this.isOpen(name));
      if (this.isOver) byId(`${name}-close`).focus();
    };
    byId(`${name}-close`).onclick = () => this.close(name);
    this.show(name, this.settings.get(name, isOpenAtFirst) && !narrow.matches);
  }

  isOpen(name) {
    return !this.#panels.get(name).node.hidden;
  }

  // Whether one lies over the conversation.
  get isOver() {
    return byId("pane").inert;
  }

  show(name, isOpen) {
    const { node, toggle, shown, role } = this.#panels.get(name);
    node.hidden = !isOpen;
    node.setAttribute("role", narrow.matches ? "dialog" : role);
    node.toggleAttribute("aria-modal", false);
    if (narrow.matches) node.setAttribute("aria-modal", "true");
    if (!narrow.matches) this.settings.set(name, isOpen);
    toggle.setAttribute("aria-expanded", `${isOpen}`);
    byId("pane").inert = narrow.matches && [...this.#panels.keys()].some((one) => this.isOpen(one));
    shown(isOpen);
  }

  close(name) {
    this.show(name, false);
    this.#panels.get(name).toggle.focus();
  }

  // Closes what lies over the conversation.
  closeOver() {
    for (const name of this.#panels.keys()) if (this.isOpen(name)) this.close(name);
  }
}
