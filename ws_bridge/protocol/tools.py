"""The client's own tools, by the flat name under which a provider sees them (pure).

Most providers know functions only. Every tool that the client runs itself (functions, custom tools,
`apply_patch`, `shell`, `local_shell`, its own tool search, and those in namespaces) is offered to
them as a function, and a call of it becomes an item of the tool's own type again.

Rule 1: one table a request, both ways: what is written into it is what is read with it.
Rule 2: a flat name has at most 64 characters of [A-Za-z0-9_-]; a longer one is cut and hashed; two
tools with one flat name are refused.
Rule 3: tools that the provider runs are not in the table: a dialect decides about them.
Rule 4: what the history offers (a tool search has found it) is offered like the request's `tools`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.history import unfolded
from ws_bridge.types import Item, Json

LONGEST_NAME = 64
SEPARATOR = "__"  # between a namespace and a name
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")

_TEXT: Json = {"type": "string"}
CONTENT = "content"  # the one argument of a custom tool
SEARCH = "tool_search"
CLIENTS = ".client"  # at the type of a search that the client runs: there are also providers' own


def _object(properties: Json, *required: str) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class ToolKind:
    """One type of tool that the client runs: its items, and its form as a function."""

    call: str  # the type of its call; that of its output is the same + "_output"
    parameters: Json = field(default_factory=lambda: _object({}))
    description: str = ""
    fields: str = ""  # the key of the call that has the arguments as an object; "": they are text


KINDS: Mapping[str, ToolKind] = {
    "function": ToolKind("function_call"),
    "custom": ToolKind("custom_tool_call", _object({CONTENT: _TEXT})),
    "apply_patch": ToolKind(
        "apply_patch_call",
        _object(
            {
                "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                "path": _TEXT,
                "diff": {
                    "type": "string",
                    "description": "The file's change as a V4A diff; absent where it is deleted.",
                },
            },
            "type",
            "path",
        ),
        "Create, update or delete one file by a V4A diff.",
        "operation",
    ),
    "shell": ToolKind(
        "shell_call",
        _object(
            {
                "commands": {"type": "array", "items": _TEXT},
                "timeout_ms": {"type": "integer"},
                "max_output_length": {"type": "integer"},
            },
            "commands",
        ),
        "Run shell commands, and get what each of them writes and its exit code.",
        "action",
    ),
    "local_shell": ToolKind(
        "local_shell_call",
        _object(
            {
                "command": {"type": "array", "items": _TEXT},
                "working_directory": _TEXT,
                "timeout_ms": {"type": "integer"},
                "env": {"type": "object", "additionalProperties": _TEXT},
            },
            "command",
        ),
        "Run one command in the user's shell, and get what it writes.",
        "action",
    ),
    SEARCH + CLIENTS: ToolKind(
        "tool_search_call",
        _object({"query": _TEXT}),
        "Search for more tools. Those that are found can be called afterwards.",
        "arguments",
    ),
}
NAMED = ("function", "custom")  # all others are called as their type is
# By the form of the call's item (`form_of`).
KIND_OF_CALL = {
    kind.call + (CLIENTS if name.endswith(CLIENTS) else ""): name for name, kind in KINDS.items()
}
CALLS = frozenset(KIND_OF_CALL)
FOUND = "tool_search_output"
OUTPUTS = frozenset(f"{call}_output" for call in CALLS if not call.endswith(CLIENTS)) | {
    FOUND + CLIENTS
}
# Tools that a provider runs, and whose calls are items of a type of their own. Calls of any other
# one, as xAI's `x_search`, may come as a client's: under names that the client has not offered.
WITH_OWN_ITEMS = frozenset(
    {
        *("web_search", "web_search_2025_08_26", "web_search_preview"),
        *("web_search_preview_2025_03_11", "file_search", "code_interpreter", "image_generation"),
        *("mcp", "tool_search", "computer", "computer_use_preview", "programmatic_tool_calling"),
    }
)
OFFERING = frozenset({FOUND, "additional_tools"})  # items that have `tools`


@dataclass(frozen=True, slots=True)
class ClientTool:
    """One tool of the client's, as a function."""

    flat: str  # its name at the provider
    kind: str  # a key of `KINDS`
    name: str  # as the client calls it
    namespace: str = ""
    description: str = ""
    parameters: Json = field(default_factory=dict)
    strict: bool | None = None
    is_deferred: bool = False  # it may wait until a tool search finds it

    @property
    def call(self) -> str:
        """The type of its calls."""
        return KINDS[self.kind].call

    @property
    def is_text(self) -> bool:
        """Whether its arguments are published as they come; else the whole object is needed."""
        return not KINDS[self.kind].fields


@dataclass(frozen=True, slots=True)
class ToolTable:
    """The tools of one request. ``hosted`` are the others, as the client sent them, with places."""

    tools: Mapping[str, ClientTool] = field(default_factory=dict)  # by flat name, in order
    hosted: tuple[tuple[str, Json], ...] = ()  # (place in the request, tool)

    @classmethod
    def of(cls, tools: Iterable[Json], items: Iterable[Item] = ()) -> ToolTable:
        """The table of a request's ``tools`` and of those that its ``items`` offer.

        Raises ``InvalidRequest`` where two names of ``tools`` collide.
        """
        table: dict[str, ClientTool] = {}
        hosted = []
        for place, tool in _with_places(tools, "tools"):
            if form_of(tool) not in KINDS:
                hosted.append((place, tool))
                continue
            entry = _client_tool(tool)
            if table.setdefault(entry.flat, entry) is not entry:
                raise InvalidRequest(
                    f"Two tools have the name '{entry.flat}' for the model.", param=place
                )
        for place, tool in _with_places(offered_tools(items), "input"):
            if form_of(tool) not in KINDS:
                if all(tool != known for _, known in hosted):
                    hosted.append((place, tool))
                continue
            entry = _client_tool(tool)
            table[entry.flat] = replace(table.get(entry.flat, entry), is_deferred=False)
        return cls(table, tuple(hosted))

    def by_flat_name(self, flat: str) -> ClientTool:
        """The tool that a provider called; one that is not offered is a function of that name."""
        return self.tools.get(flat) or ClientTool(flat, "function", flat)

    def of_item(self, call: Item) -> ClientTool:
        """The tool of a call in the history, also where it is not offered any more."""
        kind = KIND_OF_CALL[form_of(call)]
        name = call.get("name") if kind in NAMED else call["type"].removesuffix("_call")
        flat = flat_name(str(name or ""), str(call.get("namespace") or ""))
        known = self.tools.get(flat)
        return known or ClientTool(flat, kind, str(name or ""), str(call.get("namespace") or ""))

    def named(self, choice: Json) -> ClientTool | None:
        """The tool that a choice names: ``{"type": "function", "name": …}``; None if it is none."""
        kind = str(choice.get("type"))
        if kind not in KINDS and kind != SEARCH:
            return None
        name = str(choice.get("name") or kind)
        return self.tools.get(flat_name(name, str(choice.get("namespace") or "")))

    def narrowed(self, flats: Iterable[str]) -> ToolTable:
        """The table with these tools only, for `allowed_tools`."""
        kept = set(flats)
        return ToolTable({flat: t for flat, t in self.tools.items() if flat in kept}, self.hosted)


NO_TOOLS = ToolTable()


def form_of(thing: Json) -> str:
    """The type of a tool or an item; with ``.client`` of a tool search that the client runs."""
    kind = str(thing.get("type"))
    is_clients = kind.startswith(SEARCH) and thing.get("execution") == "client"
    return kind + CLIENTS if is_clients else kind


def flat_name(name: str, namespace: str = "") -> str:
    """The name of a tool at a provider."""
    full = f"{namespace}{SEPARATOR}{name}" if namespace else name
    flat = _FOREIGN.sub("_", full)
    if len(flat) <= LONGEST_NAME and flat == full:
        return flat
    digest = hashlib.sha256(full.encode(errors="replace")).hexdigest()[:8]
    return f"{flat[: LONGEST_NAME - 9]}_{digest}" if len(flat) > LONGEST_NAME else flat


def offered_tools(items: Iterable[Item]) -> list[Json]:
    """The tools that items of a history offer."""
    return [
        tool
        for item in unfolded(items)
        if item.get("type") in OFFERING and isinstance(item.get("tools"), list)
        for tool in item["tools"]
        if isinstance(tool, dict)
    ]


def provider_calls(items: Iterable[Item], tools: Iterable[Json]) -> frozenset[str]:
    """The ids of the calls that the provider ran itself, though their items are a client's.

    ``tools`` are those of the request that the calls are of.
    """
    items = list(items)
    calls = [item for item in items if item.get("type") in ("function_call", "custom_tool_call")]
    offered = [tool for _, tool in _with_places(tools, "")] if calls else []
    if all(str(tool.get("type")) in KINDS.keys() | WITH_OWN_ITEMS for tool in offered):
        return frozenset()
    offered += [tool for _, tool in _with_places(offered_tools(items), "")]
    names = {str(tool.get("name")) for tool in offered if form_of(tool) in KINDS}
    names |= {
        flat_name(str(tool.get("name")), str(tool.get("namespace") or "")) for tool in offered
    }
    return frozenset(
        str(item.get("call_id")) for item in calls if str(item.get("name")) not in names
    )


def arguments_of(call: Item) -> Json:
    """The arguments of a call in the history as an object, whatever the client sent.

    Text that is no JSON object is wrapped: no provider takes it as it is.
    """
    kind = KIND_OF_CALL[form_of(call)]
    if kind == "custom":
        return {CONTENT: str(call.get("input") or "")}
    if key := KINDS[kind].fields:
        value = call.get(key)
        given = dict(value) if isinstance(value, dict) else {}
        if kind == "local_shell":
            given.pop("type", None)
        return {name: each for name, each in given.items() if each is not None}
    text = str(call.get("arguments") or "")
    try:
        parsed = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        return {"arguments": text}
    return parsed if isinstance(parsed, dict) else {"arguments": parsed}


def fields_of(kind: str, arguments: str) -> Json | None:
    """The fields of a call of a tool whose arguments are an object; None if they do not fit."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(given, dict):
        return None
    if kind == SEARCH + CLIENTS:
        return {"execution": "client", "arguments": given}
    return _patch_fields(given) if kind == "apply_patch" else _shell_fields(kind, given)


def _shell_fields(kind: str, given: Json) -> Json | None:
    commands = given.get(KINDS[kind].parameters["required"][0])
    if not isinstance(commands, list) or not all(isinstance(one, str) for one in commands):
        return None
    if kind == "shell":
        limits = {name: given.get(name) for name in ("timeout_ms", "max_output_length")}
        return {"action": {"commands": commands, **limits}}
    env = given.get("env")
    return {
        "action": {
            "type": "exec",
            "command": commands,
            "env": env if isinstance(env, dict) else {},
            "working_directory": given.get("working_directory"),
            "timeout_ms": given.get("timeout_ms"),
            "user": None,
        }
    }


def _patch_fields(given: Json) -> Json | None:
    kind = given.get("type")
    keys = ("type", "path") if kind == "delete_file" else ("type", "path", "diff")
    kinds = KINDS["apply_patch"].parameters["properties"]["type"]["enum"]
    if kind not in kinds or not all(isinstance(given.get(key), str) for key in keys):
        return None
    return {"operation": {key: given[key] for key in keys}}


def call_of_output(output: Item) -> str:
    """The call id that an output answers; a local shell's output names its call by `id`."""
    return str(output.get("call_id") or output.get("id") or "")


def _with_places(tools: Iterable[Json], at: str, space: str = "") -> Iterator[tuple[str, Json]]:
    for place, tool in enumerate(tools):
        here = f"{at}[{place}]"
        if tool.get("type") == "namespace" and isinstance(tool.get("tools"), list):
            inner = [one for one in tool["tools"] if isinstance(one, dict)]
            yield from _with_places(inner, f"{here}.tools", str(tool.get("name") or ""))
        else:
            yield here, {**tool, "namespace": space} if space else tool


def _client_tool(tool: Json) -> ClientTool:
    kind = form_of(tool)
    name = str(tool.get("name") or "") if kind in NAMED else str(tool["type"])
    has_schema = kind in ("function", SEARCH + CLIENTS)
    parameters: Any = tool.get("parameters") if has_schema else None
    return ClientTool(
        flat=flat_name(name, tool.get("namespace") or ""),
        kind=kind,
        name=name,
        namespace=str(tool.get("namespace") or ""),
        description=_description(tool),
        parameters=parameters if isinstance(parameters, dict) else KINDS[kind].parameters,
        strict=tool.get("strict") if isinstance(tool.get("strict"), bool) else None,
        is_deferred=tool.get("defer_loading") is True,
    )


def _description(tool: Json) -> str:
    text = str(tool.get("description") or KINDS[form_of(tool)].description)
    grammar = tool.get("format")
    if isinstance(grammar, dict) and grammar.get("type") == "grammar":
        rules = f"{CONTENT!r} must match this {grammar.get('syntax')} grammar:"
        return f"{text}\n\n{rules}\n{grammar.get('definition')}".strip()
    return text
