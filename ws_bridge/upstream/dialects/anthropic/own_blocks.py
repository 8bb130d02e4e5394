"""The blocks of an answer that no item carries: how they are kept and sent back (pure).

Rule 1: only such an answer has side data. Of all others the items and their seals say it all.
Rule 2: a block goes back with the fields that Anthropic takes, and with all of these.
Rule 3: the calls of the client's tools are those of the items; a call that these do not have was
cut. Only who called (`caller`) is told by the blocks.
Rule 4: a call that Anthropic ran and its result go back together. A call may wait for its result
only beside calls of the client's, in the newest turn of the model.
Rule 5: side data of a form that this release does not write is nothing: the items are sent.
Rule 6: a container is named until it has expired; afterwards Anthropic would refuse the request.
One that had expired before it was told of says that clocks differ: it is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.anthropic.blocks import (
    SEALED_KEYS,
    MessageBlock,
    call_id_of,
    mended,
)
from ws_bridge.upstream.dialects.anthropic.tools import CODE_EXECUTION, MCP_CLIENT, TOOL_SEARCH
from ws_bridge.upstream.dialects.entries import (
    Entry,
    MakerTurn,
    OwnBlock,
    PlainEntry,
    ToolUse,
    UserTurn,
)
from ws_bridge.upstream.dialects.turns import ModelTurn

# The fields of the side data; a container that has no end is named for ever.
BLOCKS, CONTAINER, EXPIRES = "blocks", "container", "container_expires"
CALL, DIRECT = "tool_use", "direct"

Forms = Mapping[str, type | tuple[type, ...]]
_USE: Forms = {"id": str, "name": str, "input": dict}
_RESULT: Forms = {"tool_use_id": str, "content": (list, dict)}
_SEALED: Mapping[str, Forms] = {
    kind: dict.fromkeys(keys, str) for kind, keys in SEALED_KEYS.items()
}
# Blocks that go back: what each must have, and what it may have.
NEEDED: Mapping[str, Forms] = {
    **_SEALED,
    "text": {"text": str},
    CALL: _USE,
    "server_tool_use": _USE,
    "mcp_tool_use": {**_USE, "server_name": str},
    **dict.fromkeys(
        (
            *("web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result"),
            *("bash_code_execution_tool_result", "text_editor_code_execution_tool_result"),
            *("tool_search_tool_result", "advisor_tool_result"),
        ),
        _RESULT,
    ),
    "mcp_tool_result": {"tool_use_id": str, "content": (list, str)},
    "container_upload": {"file_id": str},
    "compaction": {"content": str},
}
_CALLER: Forms = {"caller": dict}
ALLOWED: Mapping[str, Forms] = {
    **dict.fromkeys((CALL, "server_tool_use"), _CALLER),
    **dict.fromkeys(("web_search_tool_result", "web_fetch_tool_result"), _CALLER),
    "text": {"citations": list},
    "mcp_tool_result": {"is_error": bool},
    "compaction": {"encrypted_content": str},
}
# Those that items and seals say as well, unless they have a citation or a caller.
PLAIN = frozenset({*SEALED_KEYS, "text", CALL})
BETAS: Mapping[str, str] = {
    "advisor_tool_result": "advisor-tool-2026-03-01",
    "bash_code_execution_tool_result": CODE_EXECUTION,
    "code_execution_tool_result": CODE_EXECUTION,
    "compaction": "compact-2026-01-12",
    "container_upload": "files-api-2025-04-14",
    "mcp_tool_use": MCP_CLIENT,
    "text_editor_code_execution_tool_result": CODE_EXECUTION,
    "tool_search_tool_result": TOOL_SEARCH,
}
NO_INPUT = frozenset({"file_id"})  # of a citation: Anthropic writes it, and does not take it


@dataclass(slots=True)
class UnfoldedHistory:
    """A history in which the maker's turns are the blocks that it wrote."""

    entries: list[PlainEntry | OwnBlock] = field(default_factory=list)
    callers: dict[str, Json] = field(default_factory=dict)  # by the ids of calls
    container: str = ""  # the newest


@dataclass(frozen=True, slots=True)
class Container:
    """Where Anthropic keeps the files of its tools. ``expires``: in seconds; 0: not known."""

    name: str = ""
    expires: float = 0.0

    @classmethod
    def of(cls, given: Any, now: float) -> Container:
        """The container that a message names at a time; one without a name if it is none."""
        name = given.get("id") if isinstance(given, dict) else None
        if not isinstance(name, str):
            return cls()
        try:
            parsed = datetime.fromisoformat(str(given.get("expires_at")))
        except ValueError:
            return cls(mended(name))
        end = parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()
        return cls(mended(name), end if end > now else 0.0)


def side_data_of(blocks: Iterable[MessageBlock], container: Container) -> Json | None:
    """What goes back of an answer; None if its items say it all."""
    whole = [block.sealed() if block.kind in SEALED_KEYS else block.whole() for block in blocks]
    kept = [fitted for one in _joined(whole) if (fitted := _fitted(one)) is not None]
    named: Json = {CONTAINER: container.name} if container.name else {}
    if named and container.expires:
        named[EXPIRES] = container.expires
    return {BLOCKS: kept, **named} if named or not all(map(_is_plain, kept)) else None


def unfolded(entries: Iterable[Entry], now: float) -> UnfoldedHistory:
    """The history at a time; turns whose side data is not understood are their entries."""
    history = UnfoldedHistory()
    for entry in entries:
        if not isinstance(entry, MakerTurn):
            history.entries.append(entry)
            continue
        own = _own_entries(entry)
        history.entries += entry.entries if own is None else own
        for block in entry.side_data[BLOCKS] if own is not None else ():
            if block["type"] == CALL and "caller" in block:
                history.callers[str(call_id_of(block["id"]))] = block["caller"]
        container, end = entry.side_data.get(CONTAINER), entry.side_data.get(EXPIRES)
        if isinstance(container, str):
            is_over = isinstance(end, int | float) and 0 < end <= now
            history.container = "" if is_over else container
    return history


def paired_ids(turns: Sequence[UserTurn | ModelTurn]) -> frozenset[str]:
    """The ids of the calls that Anthropic ran which may go back, by Rule 4."""
    called: set[str] = set()
    paired: set[str] = set()
    waiting: set[str] = set()
    for turn in turns:
        if isinstance(turn, UserTurn):
            continue
        uses: set[str] = set()
        for block in (entry.block for entry in turn.entries if isinstance(entry, OwnBlock)):
            if "id" in block:
                uses.add(block["id"])
                called.add(block["id"])
            elif block.get("tool_use_id") in called:
                paired.add(block["tool_use_id"])
        waiting = uses if turn.results else set()
    return frozenset(paired | waiting)


def betas_of(messages: Iterable[Json], container: str) -> list[str]:
    """The betas that own blocks belong to; without them Anthropic does not know the blocks."""
    kinds = [block["type"] for message in messages for block in message["content"]]
    named = [CODE_EXECUTION] if container else []
    return [*named, *(BETAS[kind] for kind in kinds if kind in BETAS)]


def may_go(block: Json, paired: frozenset[str]) -> bool:
    """Whether a block is no half of a pair."""
    key = block.get("id") or block.get("tool_use_id")
    return key is None or key in paired


def caller_of(caller: Json, paired: frozenset[str]) -> Json:
    """The field of a call that code has made; {} where that code is not in the history."""
    is_known = caller.get("type") == DIRECT or str(caller.get("tool_id")) in paired
    return {"caller": caller} if is_known else {}


def _own_entries(turn: MakerTurn) -> list[OwnBlock | ToolUse] | None:
    """The blocks of a turn, and its calls as they are in the items; None if they do not fit."""
    blocks = turn.side_data.get(BLOCKS)
    if not isinstance(blocks, list) or not blocks or not all(map(_is_fit, blocks)):
        return None
    uses = {entry.call_id: entry for entry in turn.entries if isinstance(entry, ToolUse)}
    own: list[OwnBlock | ToolUse] = []
    for block in blocks:
        if block["type"] != CALL:
            own.append(OwnBlock(block))
        elif use := uses.pop(str(call_id_of(block["id"])), None):
            own.append(use)
    return None if uses else own


def _joined(blocks: Iterable[Json | None]) -> list[Json | None]:
    """The blocks; blank text, which Anthropic does not take, is added to a text before it."""
    joined: list[Json | None] = []
    for block in blocks:
        last = joined[-1] if joined else None
        if last and last.get("type") == "text" and _is_blank(block):
            joined[-1] = {**last, "text": _text(last) + _text(block)}
        else:
            joined.append(block)
    return joined


def _is_blank(block: Json | None) -> bool:
    return block is not None and block.get("type") == "text" and not _text(block).strip()


def _text(block: Json | None) -> str:
    text = block.get("text") if block is not None else None
    return text if isinstance(text, str) else ""


def _fitted(block: Any) -> Json | None:
    """The block as Anthropic takes it; None if it takes none of that form."""
    kind = block.get("type") if isinstance(block, dict) else None
    needed = NEEDED.get(kind) if isinstance(kind, str) else None
    if needed is None or not all(isinstance(block.get(key), needed[key]) for key in needed):
        return None
    if kind == "text" and not block["text"].strip():
        return None
    allowed = ALLOWED.get(str(kind), {})
    known = {key for key, form in allowed.items() if isinstance(block.get(key), form)}
    fitted = {key: one for key, one in block.items() if key in needed or key in known}
    if citations := fitted.pop("citations", None):
        fitted["citations"] = [_citation(one) for one in citations if isinstance(one, dict)]
    return {"type": kind, **fitted}


def _is_fit(block: Any) -> bool:
    return block is not None and _fitted(block) == block


def _citation(given: Json) -> Json:
    return {key: value for key, value in given.items() if key not in NO_INPUT}


def _is_plain(block: Json) -> bool:
    if block.get("caller", {}).get("type", DIRECT) != DIRECT:
        return False
    cites = any("encrypted_index" in one for one in block.get("citations", ()))
    return block["type"] in PLAIN and not cites
