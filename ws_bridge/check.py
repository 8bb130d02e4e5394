"""`ws-bridge check`: try every model of the table with one short request, a line each.

Rule 1: it goes through the ``Upstream`` seam, as a client's request would; nothing is stored.
Rule 2: an entry that is off, or a wildcard, has its line and does not fail the check.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TextIO

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import FAILED, TERMINAL, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.types import Now
from ws_bridge.upstream.base import Answer, Request, Target, Upstream

QUESTION = {"type": "message", "role": "user", "content": "Say OK."}
OPTIONS = {"max_output_tokens": 16}  # the least that OpenAI's models take
LIMIT_SECONDS = 60.0  # a model that takes longer for two words serves no client
TEXT_LIMIT = 60  # characters of the answer in its line


class CheckedModel(Protocol):
    """What the check reads of an entry of the model table."""

    @property
    def name(self) -> str:
        """What clients ask for; ``*`` stands for many."""
        ...

    @property
    def target(self) -> Target | None:
        """The target that is asked; None: the entry is off."""
        ...

    @property
    def off_reason(self) -> str:
        """Why it is off."""
        ...


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one entry."""

    name: str
    verdict: Literal["ok", "FAIL", "off", "skip"]
    text: str

    def line(self, width: int) -> str:
        """One line, whatever characters the text has."""
        text = "".join(char if char.isprintable() else " " for char in self.text)
        return f"{self.verdict:4} {self.name:{width}}  {text.rstrip()}\n"


async def check(
    entries: Iterable[CheckedModel],
    upstream: Upstream,
    out: TextIO | None = None,
    *,
    limit_seconds: float = LIMIT_SECONDS,
    now: Now = time.monotonic,
) -> int:
    """Write a line for each entry, in their order; 0 if every one that is on answered, else 1.

    ``out`` is standard output where it is not given.
    """
    out = out or sys.stdout
    listed = list(entries)
    width = max((len(entry.name) for entry in listed), default=0)
    failed = False
    for entry in listed:
        result = await _check_entry(entry, upstream, limit_seconds, now)
        failed |= result.verdict == "FAIL"
        out.write(result.line(width))
        out.flush()
    return int(failed)


async def _check_entry(
    entry: CheckedModel, upstream: Upstream, limit_seconds: float, now: Now
) -> CheckResult:
    if entry.target is None:
        return CheckResult(entry.name, "off", entry.off_reason)
    if "*" in entry.name:
        return CheckResult(
            entry.name, "skip", "a wildcard stands for many models: name one to try it"
        )
    started = now()
    try:
        async with asyncio.timeout(limit_seconds):
            answer = await _try(entry.target, upstream)
    except UpstreamError as error:
        return CheckResult(entry.name, "FAIL", f"{error.status} {error.message}")
    except TimeoutError:
        return CheckResult(entry.name, "FAIL", f"no answer within {limit_seconds:g} s")
    text = answer.strip()[:TEXT_LIMIT] or "(no text)"
    return CheckResult(entry.name, "ok", f"{now() - started:.2f} s  {text}")


async def _try(target: Target, upstream: Upstream) -> str:
    """The text of one short answer. Raises ``UpstreamError``."""
    request = Request(target=target, chain=Chain(None, (QUESTION,)), options=OPTIONS)
    answer = await upstream.open(request)
    try:
        return await _text_of(answer)
    finally:
        await answer.close()


async def _text_of(answer: Answer) -> str:
    """The text up to the answer's end. Raises ``UpstreamError``."""
    text = ""
    batch: Sequence[Draft] | None = answer.first
    while batch is not None:
        for draft in batch:
            if draft.type == "response.output_text.delta":
                text += str(draft.fields.get("delta", ""))
            elif draft.type == FAILED:
                raise _failure(draft)
            elif draft.type in TERMINAL:  # incomplete is fine: a model may think first
                return text
        batch = await answer.read()
    raise UpstreamError("The answer ended without an end.")


def _failure(end: Draft) -> UpstreamError:
    error = end.fields.get("response", {}).get("error") or {}
    return UpstreamError(str(error.get("message") or "The model failed."), code=error.get("code"))
