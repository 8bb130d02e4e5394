// Waiting before the next try: longer each time, never in step with other clients.

const FIRST_MS = 250;
const LONGEST_MS = 10_000;

export class Backoff {
  #tries = 0;
  #due = () => {};

  constructor(longest = LONGEST_MS) {
    this.longest = longest;
  }

  reset() {
    this.#tries = 0;
  }

  // The next try is due now.
  hurry() {
    this.#due();
  }

  // Resolves when the next try is due, or at once when the browser comes back online.
  wait(atLeast = 0) {
    const longest = Math.min(this.longest, FIRST_MS * 2 ** this.#tries++);
    const delay = Math.max(atLeast, longest * (0.5 + Math.random() / 2));
    return new Promise((resolve) => {
      this.#due = () => {
        clearTimeout(timer);
        removeEventListener("online", this.#due);
        resolve();
      };
      const timer = setTimeout(this.#due, delay);
      addEventListener("online", this.#due);
    });
  }
}
