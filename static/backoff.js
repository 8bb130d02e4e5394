// Waiting before the next try: longer each time, never in step with other clients.

const FIRST_MS = 250;
const LONGEST_MS = 10_000;

export class Backoff {
  #tries = 0;

  reset() {
    this.#tries = 0;
  }

  // Resolves when the next try is due, or at once when the browser comes back online.
  wait() {
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#tries++);
    const delay = longest * (0.5 + Math.random() / 2);
    return new Promise((resolve) => {
      const due = () => {
        clearTimeout(timer);
        removeEventListener("online", due);
        resolve();
      };
      const timer = setTimeout(due, delay);
      addEventListener("online", due);
    });
  }
}
