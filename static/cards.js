// How the calls of tools look, the client's and those that providers run, of every family.
//
// Rule: what a card shows of a type is a line in the table; what the table does not know is named,
//       and readable in the inspector.

import { make, pretty } from "./dom.js";
import { linkTo } from "./links.js";
import { figure } from "./pictures.js";

const text = (label, value) => ({ label, kind: "text", value });
const code = (label, value) => ({ label, kind: "code", value });
const links = (label, value) => ({ label, kind: "links", value });
const picture = (label, value, name) => ({ label, kind: "picture", value, name });

const joined = (list) => (list ?? []).filter(Boolean).join("\n");

function json(value) {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? pretty(value) : JSON.stringify(value, null, 2);
}

// For each type: its title, its name on the card, its parts, and whether they are seen at once.
const CARDS = {
  function_call: {
    title: "Tool call",
    isOpen: true,
    name: (item) => item.name,
    parts: (item) => [code("Arguments", pretty(item.arguments || "{}"))],
  },
  custom_tool_call: {
    title: "Tool call",
    isOpen: true,
    name: (item) => item.name,
    parts: (item) => [code("Input", pretty(item.input || ""))],
  },
  mcp_call: {
    title: "MCP call",
    name: (item) => [item.server_label, item.name].filter(Boolean).join(" · "),
    parts: (item) => [
      code("Arguments", pretty(item.arguments || "{}")),
      code("Output", json(item.output)),
      text("Error", item.error?.message ?? json(item.error)),
    ],
  },
  mcp_list_tools: {
    title: "MCP tools",
    name: (item) => item.server_label,
    parts: (item) => [
      text("Tools", (item.tools ?? []).map((tool) => tool.name).join(", ")),
      text("Error", item.error?.message ?? json(item.error)),
    ],
  },
  mcp_approval_request: {
    title: "MCP call, waiting for approval",
    isOpen: true,
    name: (item) => [item.server_label, item.name].filter(Boolean).join(" · "),
    parts: (item) => [code("Arguments", pretty(item.arguments || "{}"))],
  },
  web_search_call: {
    title: "Web search",
    name: ({ action = {} }) => action.query ?? action.url,
    parts: ({ action = {} }) => [
      text("Searched for", joined(action.queries ?? [action.query])),
      links("Opened", action.url ? [{ url: action.url }] : []),
      text("Looked for", action.pattern),
      links("Sources", action.sources),
    ],
  },
  file_search_call: {
    title: "File search",
    parts: (item) => [
      text("Searched for", joined(item.queries)),
      text("Found", joined((item.results ?? []).map((found) => found.filename ?? found.file_id))),
    ],
  },
  code_interpreter_call: {
    title: "Code interpreter",
    parts: (item) => [
      code("Code", item.code),
      ...(item.outputs ?? []).map((output) =>
        output.type === "image"
          ? picture("Image", output.url, "Image made by the code")
          : code("Output", output.logs ?? json(output)),
      ),
    ],
  },
  image_generation_call: {
    title: "Image",
    isOpen: true,
    parts: (item) => [
      picture("", pictureOf(item), item.revised_prompt || "Generated image"),
      text("Prompt", item.revised_prompt),
    ],
  },
  computer_call: { title: "Computer", parts: (item) => [code("Action", json(item.action))] },
  local_shell_call: {
    title: "Shell",
    parts: ({ action = {} }) => [code("Command", [].concat(action.command ?? []).join(" "))],
  },
  shell_call: {
    title: "Shell",
    parts: ({ action = {} }) => [code("Commands", joined(action.commands))],
  },
  shell_call_output: {
    title: "Shell output",
    parts: (item) =>
      [].concat(item.output ?? []).map((output) =>
        code("Output", typeof output === "string" ? output : joined([output.stdout, output.stderr])),
      ),
  },
  apply_patch_call: {
    title: "Patch",
    name: (item) => item.operation?.path,
    parts: (item) => [code(item.operation?.type ?? "Change", item.operation?.diff)],
  },
  tool_search_call: {
    title: "Tool search",
    parts: (item) => [code("Searched for", json(item.arguments))],
  },
  tool_search_output: {
    title: "Tools found",
    parts: (item) => [text("Tools", (item.tools ?? []).map((tool) => tool.name).join(", "))],
  },
  compaction: {
    title: "Earlier turns, made short",
    parts: (item) => [text("", item.encrypted_content ? "Only the model can read them." : "")],
  },
};

const OTHER = { title: "Item", name: (item) => item.type, parts: () => [] };

function pictureOf({ result, partial, output_format: format = "png" }) {
  const data = result ?? partial;
  return data && `data:image/${format};base64,${data}`;
}

const DRAW = {
  text: ({ value }) => make("p", "", value),
  code: ({ value }) => focusable(make("pre", "", value)),
  links: ({ value }) =>
    make("ul", "links", ...value.map((one) => make("li", "", linkTo(one.url, one.title)))),
  picture: ({ value, name }) => figure(value, name),
};

// What scrolls can be reached by the keyboard.
function focusable(node) {
  node.tabIndex = 0;
  return node;
}

function section(part) {
  const heading = part.label ? [make("h3", "", part.label)] : [];
  return make("div", "card-part", ...heading, DRAW[part.kind](part));
}

export class CardView {
  #state = make("span", "card-state");
  #name = make("code", "card-name");
  #kind = make("span", "card-kind");
  #parts = make("div");
  #shown = "";
  #outcome = make("div");
  node = make("details", "card");

  constructor(_announce, item) {
    const head = make("summary", "card-head", this.#kind, this.#name, this.#state);
    this.node.append(head, this.#parts, this.#outcome);
    this.node.setAttribute("role", "group");
    this.node.open = CARDS[item.type]?.isOpen ?? false;
  }

  draw(item) {
    const card = CARDS[item.type] ?? OTHER;
    const name = card.name?.(item) ?? "";
    this.#kind.textContent = card.title;
    this.#name.textContent = name;
    this.#name.hidden = !name;
    this.node.setAttribute("aria-label", `${card.title} ${name}`.trim());
    if (!this.#outcome.hasChildNodes()) this.#say(item.status);
    this.#draw(card.parts(item).filter(({ value }) => value?.length));
  }

  // The output of a call that this page ran.
  answer(output) {
    this.#outcome.replaceChildren(section(code("Output", json(output))));
    this.#say("done in this browser");
  }

  finish() {}

  #say(state = "") {
    this.#state.textContent = state === "completed" ? "done" : state.replaceAll("_", " ");
  }

  #draw(parts) {
    const shown = JSON.stringify(parts);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#parts.replaceChildren(...parts.map(section));
  }
}
