// The conversations that this browser keeps, in IndexedDB: they survive a reload and a closed tab.
//
// Rule 1: no key and no setting is kept here.
// Rule 2: where a browser keeps nothing (some private windows), they live as long as the page.

const NAME = "ws-bridge";
const STORE = "conversations";

export class Shelf {
  #database = open();
  #memory = new Map();
  #channel = new BroadcastChannel(NAME);

  // changed() is called when another tab has changed something.
  set onchange(changed) {
    this.#channel.onmessage = changed;
  }

  // { id, title, updated } of each, the newest first.
  async list() {
    const all = await this.#run("readonly", (store) => store.getAll(), () => [
      ...this.#memory.values(),
    ]);
    const heads = all.map(({ id, title, updated }) => ({ id, title, updated }));
    return heads.sort((one, other) => other.updated - one.updated);
  }

  get(id) {
    return this.#run("readonly", (store) => store.get(id), () => this.#memory.get(id));
  }

  // Throws QuotaExceededError when the browser has no room.
  async put(record) {
    await this.#run("readwrite", (store) => store.put(record), () =>
      this.#memory.set(record.id, structuredClone(record)),
    );
    this.#channel.postMessage(record.id);
  }

  async remove(id) {
    await this.#run("readwrite", (store) => store.delete(id), () => this.#memory.delete(id));
    this.#channel.postMessage(id);
  }

  async #run(mode, ask, inMemory) {
    const database = await this.#database;
    if (!database) return inMemory();
    const transaction = database.transaction(STORE, mode);
    const request = ask(transaction.objectStore(STORE));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    return request.result;
  }
}

// The database, or null where there is none.
function open() {
  return new Promise((resolve) => {
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    } catch {
      resolve(null); // SecurityError: storage is switched off
    }
  });
}
