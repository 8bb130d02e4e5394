// Building elements. Text becomes text nodes only: nothing here can turn words into markup.

export function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function button(label, className, onclick) {
  const node = make("button", className, label);
  node.type = "button";
  node.onclick = onclick;
  return node;
}

export const byId = (id) => document.getElementById(id);

// Calls `draw` once before the next paint, however often it was asked.
export function eachFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

// JSON for people; text that is no JSON stays as it is.
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // arguments still streaming in are no JSON yet
  }
}

export function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID wants a secure context
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
