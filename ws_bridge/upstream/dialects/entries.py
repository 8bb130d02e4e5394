"""A request's items → entries that every dialect can write one by one (pure).

An item has many forms on the client's side: text or parts, six kinds of calls, strings where lists
may stand. An entry has one. Each dialect turns entries into its own messages.

Rule 1: the dialect's table decides about every type of item and part, before it is read.
Rule 2: nothing is empty by accident: an item or part without content that a provider could be told
of is left out here, and what cannot be read is refused (400) with its place.
Rule 3: the bridge opens no link: a part keeps the address, and the dialect says whether it may go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.history import PROVIDER_CALL_IDS, PROVIDER_TURN
from ws_bridge.protocol.tools import (
    CALLS,
    FOUND,
    OUTPUTS,
    ClientTool,
    ToolTable,
    arguments_of,
    call_of_output,
    form_of,
)
from ws_bridge.types import Item, Json
from ws_bridge.upstream.dialects.table import RequestTable, refused

DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*?;base64,", re.ASCII)
PLAIN = "text/plain"
SYSTEM = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class ContentPart:
    """A piece of content: text, or an image, file or sound as data or by its address."""

    kind: str  # "text", "image", "file", "audio"
    text: str = ""
    media_type: str = ""  # of the data; "" if it is not known
    data: str = ""  # base64
    url: str = ""
    file_id: str = ""
    name: str = ""  # of a file
    detail: str = ""  # of an image: "low", "high", "auto", "original"
    is_refusal: bool = False  # a text with which the model refuses

    @property
    def data_url(self) -> str:
        """The data as an address, or the address itself."""
        return f"data:{self.media_type};base64,{self.data}" if self.data else self.url


@dataclass(frozen=True, slots=True)
class UserTurn:
    """Content that the client wrote: of the user, or of a "system" or "developer" role."""

    role: str
    parts: tuple[ContentPart, ...]


@dataclass(frozen=True, slots=True)
class AnswerText:
    """Text of the model, a refusal among it."""

    text: str
    phase: str = ""


@dataclass(frozen=True, slots=True)
class Thought:
    """What the model thought, as text, and the seal that its maker wants back."""

    text: str
    sealed: str = ""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of the model's, of one of the client's tools."""

    call_id: str
    tool: ClientTool
    arguments: Json


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call brought. ``tool`` is that of the call, None where the call is not known."""

    call_id: str
    tool: ClientTool | None
    parts: tuple[ContentPart, ...]
    is_error: bool = False

    @property
    def text(self) -> str:
        """All of it that is text."""
        return "\n".join(part.text for part in self.parts if part.kind == "text")


@dataclass(frozen=True, slots=True)
class HostedUse:
    """A call of a tool that the provider ran itself, as the client sees it."""

    item: Item


@dataclass(frozen=True, slots=True)
class MakerTurn:
    """A turn that this maker made, in its own words: ``side_data`` as its reader gave it out."""

    side_data: Json
    entries: tuple[PlainEntry, ...]  # the same turn as all other dialects see it


@dataclass(frozen=True, slots=True)
class OwnBlock:
    """What the model wrote in its maker's form, out of the side data: it goes back as it is."""

    block: Json


PlainEntry = UserTurn | AnswerText | Thought | ToolUse | ToolResult | HostedUse
Entry = PlainEntry | MakerTurn


def entries_of(items: Sequence[Item], tools: ToolTable, table: RequestTable) -> Iterator[Entry]:
    """The entries in order. Raises a 400 for what the dialect cannot say."""
    called: dict[str, ClientTool] = {}
    for item in items:
        kind = form_of(item) if item.get("type") else "message"
        if kind == PROVIDER_TURN:
            entries = tuple(plain_entries_of(item["items"], tools, table))
            called |= {each.call_id: each.tool for each in entries if isinstance(each, ToolUse)}
            yield MakerTurn(item["side_data"], entries)
            continue
        if not table.takes("items", kind, "input"):
            continue
        if kind == "message":
            yield from _message(item, table)
        elif kind == "reasoning":
            yield from _thought(item)
        elif kind in CALLS:
            tool = tools.of_item(item)
            call_id = str(item.get("call_id") or item.get("id") or "")
            if call_id.startswith(PROVIDER_CALL_IDS):
                continue  # xAI ran it itself: nobody answers it
            called[call_id] = tool
            yield ToolUse(call_id, tool, arguments_of(item))
        elif kind in OUTPUTS:
            call_id = call_of_output(item)
            parts = tuple(_output_parts(item, table))
            is_error = item.get("status") == "failed"
            yield ToolResult(call_id, called.get(call_id), parts, is_error)
        else:
            yield HostedUse(item)


def plain_entries_of(
    items: Sequence[Item], tools: ToolTable, table: RequestTable
) -> Iterator[PlainEntry]:
    """As ``entries_of``, without side data."""
    for entry in entries_of(items, tools, table):
        if isinstance(entry, MakerTurn):
            yield from entry.entries
        else:
            yield entry


def instructions_of(options: Json, table: RequestTable) -> tuple[UserTurn, ...]:
    """The `instructions`, text or a list of items, as turns of the system."""
    given = options.get("instructions")
    if isinstance(given, str):
        return (UserTurn("system", (ContentPart("text", given),)),) if given else ()
    turns = []
    for item in given or ():
        for turn in _message(item, table):
            if not isinstance(turn, UserTurn):
                raise InvalidRequest("'instructions' may hold messages of no assistant.")
            turns.append(turn)
    return tuple(turns)


def read_part(part: Any, table: RequestTable, param: str) -> ContentPart | None:
    """One part of a message or an output; None if it is left out, or has nothing in it."""
    if not isinstance(part, dict):
        raise InvalidRequest("A content part is an object.", param=param)
    kind = str(part.get("type"))
    form = _form(part, kind)
    if not table.takes("parts", f"{kind}.{form}" if form else kind, param):
        return None
    if kind in ("input_image", "image_url", "computer_screenshot"):
        return _image(part)
    if kind == "input_file":
        return _file(part)
    if kind == "input_audio":
        sound = part.get("input_audio")
        sound = sound if isinstance(sound, dict) else part
        return ContentPart(
            "audio", media_type=f"audio/{sound.get('format')}", data=str(sound.get("data"))
        )
    is_refusal = kind == "refusal"
    text = part.get("refusal" if is_refusal else "text")
    if not isinstance(text, str) or not text:
        return None
    return ContentPart("text", text, is_refusal=is_refusal)


def _form(part: Json, kind: str) -> str:
    """How an image or a file is given: "data", "url" or "id"; "" for all other parts."""
    if kind not in ("input_image", "image_url", "input_file", "computer_screenshot"):
        return ""
    if part.get("file_id"):
        return "id"
    if part.get("file_data"):
        return "data"
    return "data" if DATA_URL.match(_address(part)) else "url"


def _address(part: Json) -> str:
    address = part.get("image_url") or part.get("file_url") or ""
    if isinstance(address, dict):  # the form of chat messages
        address = address.get("url") or ""
    return str(address)


def _image(part: Json) -> ContentPart:
    nested = part.get("image_url")
    detail = part.get("detail") or (nested.get("detail") if isinstance(nested, dict) else "")
    return _source("image", part, _address(part), detail=str(detail or ""))


def _file(part: Json) -> ContentPart:
    given = str(part.get("file_data") or "") or _address(part)
    if part.get("file_data") and not DATA_URL.match(given):
        return ContentPart("file", data=given, name=str(part.get("filename") or ""))
    return _source("file", part, given, name=str(part.get("filename") or ""))


def _source(
    kind: str, part: Json, address: str, *, detail: str = "", name: str = ""
) -> ContentPart:
    found = DATA_URL.match(address)
    if found:
        media_type = found[1] or PLAIN
        data = address[found.end() :]
        return ContentPart(kind, media_type=media_type, data=data, name=name, detail=detail)
    file_id = str(part.get("file_id") or "")
    return ContentPart(kind, url=address, file_id=file_id, name=name, detail=detail)


def _parts(content: Any, table: RequestTable, param: str) -> Iterator[ContentPart]:
    if isinstance(content, str):
        if content:
            yield ContentPart("text", content)
        return
    if content is not None and not isinstance(content, list):
        raise InvalidRequest("Content is text or a list of parts.", param=param)
    for place, part in enumerate(content or ()):
        if (read := read_part(part, table, f"{param}.content[{place}]")) is not None:
            yield read


def _message(item: Item, table: RequestTable) -> Iterator[Entry]:
    role = str(item.get("role") or "user")
    parts = tuple(_parts(item.get("content"), table, "input"))
    if role == "assistant":
        if any(part.kind != "text" for part in parts):
            raise refused("content part", "input_image", "input", "The model wrote text only.")
        if text := _joined(parts):
            yield AnswerText(text, str(item.get("phase") or ""))
    elif role in SYSTEM or role == "user":
        if parts:
            yield UserTurn(role, parts)
    else:
        raise refused("role", role, "input")


def _joined(parts: Iterable[ContentPart]) -> str:
    """The words of a model's message: its text in one, a refusal as a paragraph of its own."""
    said = groupby(parts, key=lambda part: part.is_refusal)
    return "\n\n".join("".join(part.text for part in some) for _, some in said)


def _thought(item: Item) -> Iterator[Thought]:
    said = [
        part["text"]
        for name in ("summary", "content")
        for part in (item.get(name) or () if isinstance(item.get(name), list) else ())
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    ]
    sealed = item.get("encrypted_content")
    thought = Thought("".join(said), sealed if isinstance(sealed, str) else "")
    if thought.text or thought.sealed:
        yield thought


def _output_parts(item: Item, table: RequestTable) -> Iterator[ContentPart]:
    output = item.get("output")
    if item.get("type") == FOUND:
        names = list(ToolTable.of((), [item]).tools)
        yield ContentPart("text", orjson.dumps({"tools": names}).decode())
    elif item.get("type") == "shell_call_output" and isinstance(output, list):
        yield ContentPart(
            "text", "\n".join(_shell_text(one) for one in output if isinstance(one, dict))
        )
    elif isinstance(output, str | list) or output is None:
        yield from _parts(output, table, "input")
    elif isinstance(output, dict) and "type" in output:
        yield from _parts([output], table, "input")
    else:  # a value: some clients forget to write it as text
        yield ContentPart("text", orjson.dumps(output).decode())


def _shell_text(one: Json) -> str:
    outcome = one.get("outcome")
    said = "\n".join(str(one[key]) for key in ("stdout", "stderr") if one.get(key))
    if not isinstance(outcome, dict):
        return said
    code = outcome.get("exit_code", outcome.get("type"))
    return f"{said}\n[exit: {code}]".lstrip("\n")
