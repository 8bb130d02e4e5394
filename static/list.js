// The list of conversations: open, rename, delete.

import { button, make } from "./dom.js";

const UNNAMED = "New conversation";

export class ConversationList {
  #editing = null; // the id whose name is being written

  // shelf; open(id), renamed(id, title), removed(id), which are done on the shelf here
  constructor(node, shelf, parts) {
    Object.assign(this, { node, shelf, ...parts, current: "" });
    shelf.onchange = () => this.draw();
  }

  async draw() {
    const heads = await this.shelf.list();
    if (this.#editing) return; // a name half written is not taken away
    const focused = this.#focus();
    this.node.replaceChildren(...heads.map((head) => this.#row(head)));
    focused?.();
  }

  #row(head) {
    const name = head.title || UNNAMED;
    const open = button(name, "row-open", () => this.open(head.id));
    open.title = name;
    if (head.id === this.current) open.setAttribute("aria-current", "true");
    const rename = button("✎", "quiet row-tool", () => this.#edit(head, row));
    rename.setAttribute("aria-label", `Rename ${name}`);
    const remove = button("×", "quiet row-tool", () => this.#remove(head, row));
    remove.setAttribute("aria-label", `Delete ${name}`);
    const row = make("li", "row", open, rename, remove);
    row.dataset.id = head.id;
    return row;
  }

  // Draws again move the focus nowhere.
  #focus() {
    const focused = document.activeElement;
    const { id } = focused?.closest(".row")?.dataset ?? {};
    const at = id ? [...focused.parentElement.children].indexOf(focused) : -1;
    if (at < 0 || !this.node.contains(focused)) return null;
    return () => this.node.querySelector(`[data-id="${id}"]`)?.children[at]?.focus();
  }

  #edit(head, row) {
    this.#editing = head.id;
    const input = make("input", "row-name");
    input.type = "text";
    input.value = head.title;
    input.setAttribute("aria-label", "Name of the conversation");
    const done = (isKept) => this.#rename(head, isKept ? input.value.trim() : "");
    input.onkeydown = (key) => {
      key.stopPropagation(); // Escape stops no answer here
      if (key.key === "Enter") done(true);
      if (key.key === "Escape") done(false);
    };
    input.onblur = () => done(true);
    row.replaceChildren(input);
    input.focus();
    input.select();
  }

  async #rename(head, title) {
    if (this.#editing !== head.id) return;
    this.#editing = null;
    if (title && title !== head.title) {
      this.renamed(head.id, title);
      const record = await this.shelf.get(head.id);
      await this.shelf.put({ ...record, title });
    }
    await this.draw();
    this.node.querySelector(`[data-id="${head.id}"] .row-tool`)?.focus();
  }

  async #remove(head, row) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    const record = await this.shelf.get(head.id);
    await this.shelf.remove(head.id);
    await this.draw();
    const focus = next && this.node.querySelector(`[data-id="${next.dataset.id}"] .row-open`);
    focus?.focus();
    this.removed(record);
  }
}
