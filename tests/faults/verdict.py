"""What must hold of a response after a round, given what everybody saw. Pure.

Rule 1: the log is the truth; it is the same bytes on both servers, without a hole that it does not
declare, and it ends with its one terminal event.
Rule 2: whoever reads the store saw a part of the log. So did the socket; only that of a server that
was killed, frozen or cut off may have been ahead of it (the unmirrored tail).
Rule 3: an end that was told is the store's, unless the server has said that it told it without.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from faults.nemesis import Fault
from faults.trace import RANKS, TERMINAL_TYPES, Heard, Json, Trace, text_of
from ws_bridge.protocol.events import Event
from ws_bridge.protocol.reducer import Reducer

AFTERMATH_SECONDS = 6.0  # a fault so long after a response's end may still concern its last write
MAX_ATTEMPTS = 2


@dataclass(frozen=True)
class Finals:
    """What each server says after the round: status and body of the GET, the replay's events."""

    answers: Sequence[tuple[int, bytes]]
    replays: Sequence[Sequence[bytes]]


@dataclass(frozen=True)
class Surroundings:
    """What else is known of a response."""

    faults: Sequence[Fault]
    is_degraded: bool  # its server said so: the store was away when it began
    is_unconfirmed: bool  # its server said so: its end was told without the store
    asked: int  # how often the provider was asked for it
    heard: str  # what the provider was sent, the last time


def judge(trace: Trace, finals: Finals, around: Surroundings) -> Iterator[str]:
    """What does not hold."""
    yield from trace.problems
    heard = [*trace.followers, *([trace.socket] if trace.socket else [])]
    for one in heard:
        yield from one.problems
    is_hurt = concerns(around.faults, trace, trace.server)
    if trace.is_cut and not is_hurt:
        yield "its connection broke, and no fault had touched its server"
    if not trace.id:
        return
    statuses = [status for status, _ in finals.answers]
    if statuses != [200] * len(statuses):
        was_lost = around.is_degraded and is_hurt and not trace.was_found
        if not was_lost or set(statuses) != {404}:
            yield f"the servers answer {statuses} for it"
        elif _told(trace) and not around.is_unconfirmed:
            yield f"its end was told ({_told(trace)}), and the servers answer {statuses}"
        return
    yield from _log_is_whole(finals)
    log = {_number(text): text for text in finals.replays[0]}
    for follower in trace.followers:
        yield from _is_part(follower, log)
    if trace.socket:
        yield from _socket_is_part(trace, log, around, is_hurt=is_hurt)
    yield from _polls_are_folds(trace, finals)
    yield from _is_what_was_asked(trace, finals, around, is_hurt=is_hurt)


def concerns(faults: Iterable[Fault], trace: Trace, target: int) -> bool:
    """Whether a target was killed, frozen or away during a response, or soon after."""
    until = (trace.ended or float("inf")) + AFTERMATH_SECONDS
    harmless = ("hints kill", "scripts flush", "reset")
    return any(
        fault.target == target
        and fault.kind not in harmless
        and fault.began <= until
        and fault.ended >= trace.began
        for fault in faults
    )


def is_ahead(trace: Trace, log_end: Json) -> bool:
    """Whether the socket heard more than the log has, its end not counted."""
    socket = trace.socket
    if socket is None:
        return False
    return max(socket.texts, default=-1) - socket.has_ended >= log_end["sequence_number"]


def is_taken(trace: Trace) -> bool:
    """Whether the socket was told that another server has the response."""
    end = trace.socket.end if trace.socket else None
    return bool(end) and "taken over" in str(end["response"].get("error"))


def is_contradicted(trace: Trace, finals: Finals) -> bool:
    """Whether the socket was told an end that the store does not have; a failure is no other."""
    told = _told(trace)
    if not told or not finals.answers:
        return False
    status, body = finals.answers[0]
    return status != 200 or told not in (orjson.loads(body)["status"], "failed")


def _told(trace: Trace) -> str:
    """The status that the socket's client was told in the end; "" if it heard none."""
    end = trace.socket.end if trace.socket else None
    return str(end["response"]["status"]) if end else ""


def _number(text: bytes) -> int:
    return int(orjson.loads(text)["sequence_number"])


def _log_is_whole(finals: Finals) -> Iterator[str]:
    first = finals.replays[0]
    if any(list(replay) != list(first) for replay in finals.replays):
        yield "the servers replay different bytes"
    if len({body for _, body in finals.answers}) != 1:
        yield "the servers answer different objects"
    heard = Heard("a replay")
    for text in first:
        heard.hear(text)
    yield from heard.problems
    types = [orjson.loads(text)["type"] for text in first]
    if [kind in TERMINAL_TYPES for kind in types] != [False] * (len(types) - 1) + [True]:
        yield f"the log is no log with one end: {types}"
        return
    end = orjson.loads(first[-1])["response"]
    final = orjson.loads(finals.answers[0][1])
    if final != end:
        yield f"the object ({final['status']}) is not the terminal event's ({end['status']})"
    if Reducer().fold(map(Event.parse, first)).response() != final:
        yield "the object is not the fold of the log"


def _is_part(heard: Heard, log: dict[int, bytes], before: float = float("inf")) -> Iterator[str]:
    """Whether all an observer got is the log's, up to a number."""
    wrong = [n for n, text in heard.texts.items() if n < before and not _agrees(n, text, log)]
    if wrong:
        n = min(wrong)
        yield f"{heard.who}: number {n} was {heard.texts[n]!r} and is {log.get(n)!r}"
    if before == float("inf") and heard.has_ended and heard.last != max(log):
        yield f"{heard.who} heard the end at {heard.last}; the log's is {max(log)}"


def _agrees(number: int, text: bytes, log: dict[int, bytes]) -> bool:
    """Whether the log has these bytes at this number, or declares that it lost them."""
    if number in log:
        return text == log[number] or b'"gap":{' in log[number]
    later = min((known for known in log if known > number), default=None)
    return later is not None and b'"gap":{' in log[later]


def _socket_is_part(
    trace: Trace, log: dict[int, bytes], around: Surroundings, *, is_hurt: bool
) -> Iterator[str]:
    socket = trace.socket
    assert socket is not None
    yield from _is_part(socket, log, before=max(log) if is_hurt else float("inf"))
    told, kept = _told(trace), orjson.loads(log[max(log)])["response"]["status"]
    is_taken = told == "failed" and kept == "cancelled"  # by another server, as somebody wished
    if told and told != kept and not is_taken and not around.is_unconfirmed:
        yield f"the socket was told {told}, and the store says {kept}"


def _polls_are_folds(trace: Trace, finals: Finals) -> Iterator[str]:
    """Each poll is the fold of a prefix."""
    unknown = {orjson.dumps(poll, option=orjson.OPT_SORT_KEYS) for poll in trace.polls}
    reducer = Reducer()
    for text in finals.replays[0]:
        if not unknown:
            return
        reducer.fold([Event.parse(text)])
        unknown.discard(orjson.dumps(reducer.response(), option=orjson.OPT_SORT_KEYS))
    for poll in unknown:
        yield f"a poll saw what is the fold of no prefix: {poll[:300]!r}"


def _is_what_was_asked(
    trace: Trace, finals: Finals, around: Surroundings, *, is_hurt: bool
) -> Iterator[str]:
    final = orjson.loads(finals.answers[0][1])
    status, said, wanted = final["status"], text_of(final), wanted_text(trace.model)
    if RANKS.get(status, 2) < 2:
        yield f"it is still {status}"
    if wanted and not (said == wanted if status == "completed" else wanted.startswith(said)):
        yield f"it is {status} and says {said[-60:]!r}"
    if status == "cancelled" and not trace.cancel:
        yield "it is cancelled, and nobody was told so"
    if trace.cancel == "cancelled" != status:
        yield f"a cancel was answered cancelled, and it is {status}"
    if status == "failed" and not is_hurt:
        yield f"it failed and its server was never touched: {final['error']}"
    most = MAX_ATTEMPTS if trace.kind == "background" else 1
    least = 1 if status == "completed" else 0
    if not least <= around.asked <= most:
        yield f"the provider was asked {around.asked} times ({status})"
    tags = [one.tag for one in trace.lineage()] + [trace.tag]
    places = [around.heard.find(tag) for tag in tags]
    if status == "completed" and (-1 in places or places != sorted(places)):
        yield f"the provider did not hear its history {tags} in order: {places}"


def wanted_text(model: str) -> str:
    """All that a model says, where its name tells."""
    found = re.search(r"big(\d+)$", model)
    if not found:
        return ""
    count = int(found[1])
    return "word" * count if "native" in model else "".join(f"w{i} " for i in range(count))
