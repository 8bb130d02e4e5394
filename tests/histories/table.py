"""The rows: an answer, what is asked around it, and what its provider must be asked next."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from wires import PROVIDERS, Wire, wires
from wires.readings import by_the_reader

from ws_bridge.protocol.events import COMPLETED, INCOMPLETE
from ws_bridge.types import Json

FOLDER = Path(__file__).parent / "expected"
# The ways, and another one whose body is often the same.
WAYS = {
    "chained": "",
    "resent": "chained",
    "account": "chained",
    "account-resent": "account",
    "elsewhere": "",
    "elsewhere-resent": "elsewhere",
}

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
LATER = {**WEATHER, "defer_loading": True}
SEARCH: Json = {"type": "web_search"}
CODE: Json = {"type": "code_interpreter", "container": {"type": "auto"}}
MCP: Json = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "https://docs.example/",
    "require_approval": "never",
}
# What the provider runs in a row, as the client asks for it.
HOSTED: dict[str, tuple[Json, ...]] = {
    **dict.fromkeys(
        (
            *("anthropic-search", "anthropic-paused", "anthropic-search-between-thoughts"),
            *("bedrock-nova-search", "gemini-grounding", "gemini-tool-calls"),
            *("openai_chat-ran-tools", "openai_chat-sources", "openai_chat-steps"),
            *("openai_chat-annotations", "responses-search"),
        ),
        (SEARCH,),
    ),
    **dict.fromkeys(
        (
            *("anthropic-code", "anthropic-container", "anthropic-called-by-code"),
            *("bedrock-nova-code", "gemini-code", "responses-hosted-tools"),
        ),
        (CODE,),
    ),
    **dict.fromkeys(("anthropic-mcp", "responses-mcp"), (MCP,)),
    **dict.fromkeys(("anthropic-tool-search", "responses-tool-search"), ({"type": "tool_search"},)),
    "openai_chat-ran-more-tools": (CODE,),
    "responses-searches-x": ({"type": "x_search"},),
}
THEN = {"anthropic-paused": "after-pause"}  # what comes when the provider is asked to go on

CLAUDE_ON_BEDROCK = "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "bedrock/us.amazon.nova-2-lite-v1:0"
NAMES = {
    "anthropic": "anthropic/claude-sonnet-4-5",
    "bedrock": CLAUDE_ON_BEDROCK,
    "cohere": "cohere_chat/command-a-03-2025",
    "gemini": "gemini/gemini-3-pro-preview",
    "responses": "openai/gpt-of-tests",
}
MODELS = {
    "bedrock-nova-search": NOVA,
    "bedrock-nova-code": NOVA,
    "bedrock-citation": NOVA,
    "gemini-signed-picture": "gemini/gemini-3-pro-image-preview",
    "gemini-picture": "gemini/gemini-3-pro-image-preview",
}
ADDRESS = "http://provider.test"  # never looked up: a proxy on loopback stands for it
PATHS = {"gemini": "/v1beta", "openai_chat": "/v1", "responses": "/v1", "cohere": "/v2/chat"}
# The other provider of a row: of another family, and one that knows tools.
ELSEWHERE = dict.fromkeys(PROVIDERS, "openai_chat") | {"openai_chat": "anthropic"}


class Row(NamedTuple):
    """One answer, and what is asked for around it."""

    wire: Wire
    model: str  # in litellm's word
    hosted: tuple[Json, ...]  # tools that the provider runs

    def __str__(self) -> str:
        return str(self.wire)

    @property
    def base(self) -> str:
        """The provider's address."""
        return ADDRESS + PATHS.get(self.wire.family, "")

    @property
    def tools(self) -> list[Json]:
        """All that are offered."""
        waits = any(tool["type"] == "tool_search" for tool in self.hosted)
        return [*self.hosted, LATER if waits else WEATHER]

    @property
    def scripts(self) -> list[Wire]:
        """What the provider says, request by request."""
        family, then = self.wire.family, THEN.get(str(self))
        return [self.wire, *([wire_of(family, then)] if then else [])]


def wire_of(family: str, name: str = "plain") -> Wire:
    """An answer of a family; that of words alone."""
    return next(wire for wire in wires() if (wire.family, wire.name) == (family, name))


@cache
def rows() -> tuple[Row, ...]:
    """All rows, family by family."""
    return tuple(
        Row(wire, model_of(wire), HOSTED.get(str(wire), ())) for wire in wires() if kinds_in(wire)
    )


def model_of(wire: Wire) -> str:
    """The model that answers."""
    found = MODELS.get(str(wire)) or (
        wire.family == "openai_chat" and f"{wire.provider}/chat_completions/m-1"
    )
    if wire.family == "responses" and wire.provider != "openai":
        found = f"{wire.provider}/m-1"
    return found or NAMES[wire.family]


def kinds_in(wire: Wire) -> set[str]:
    """What a finished answer holds beside words; of one that failed nothing goes on."""
    drafts, failure = by_the_reader(wire)
    if failure is not None or drafts[-1].type not in (COMPLETED, INCOMPLETE):
        return set()
    end = drafts[-1].fields
    kinds = {"side data"} if end.get("side_data") else set()
    for item in end["response"]["output"]:
        kinds |= {item["type"]} - {"message"}
        parts = item["content"] if item["type"] == "message" else []
        kinds |= {"citation" for part in parts if part.get("annotations")}
        kinds |= {"refusal" for part in parts if part["type"] == "refusal"}
    return kinds


def expected(family: str) -> dict[str, dict[str, Any]]:
    """The bodies of a family's rows, by the row's name and the way."""
    text = (FOLDER / f"{family}.txt").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = {}
    for block in text.removeprefix("# ").split("\n# "):
        name, *lines = block.strip("\n").split("\n")
        bodies: dict[str, Any] = {}
        for line in lines:
            way, _, body = line.partition(" ")
            alike = body.removeprefix("as ")
            bodies[way] = bodies[alike] if alike in WAYS else json.loads(body)
        found[f"{family}-{name}"] = bodies
    return found


MINTED = re.compile(r"call_[0-9a-f]{32}")


def normal(body: Json) -> Json:
    """The body; ids of calls that the bridge made up are numbered in the order of their mention."""
    ids: dict[str, str] = {}
    text = json.dumps(body)
    for found in MINTED.finditer(text):
        ids.setdefault(found[0], f"call_{len(ids) + 1}")
    return dict(json.loads(MINTED.sub(lambda found: ids[found[0]], text)))


def written(bodies: dict[str, dict[str, Any]]) -> str:
    """The text of a family's file."""
    blocks = []
    for name, ways in bodies.items():
        lines = [f"# {name.partition('-')[2]}"]
        for way, alike in WAYS.items():
            text = json.dumps(ways[way], ensure_ascii=False, separators=(",", ":"))
            is_same = alike and ways[way] == ways[alike]
            lines.append(f"{way} as {alike}" if is_same else f"{way} {text}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
