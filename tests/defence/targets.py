"""What is fuzzed: each target takes its chance from ``rng``, and raises if a promise is broken.

Only documented outcomes are let pass: ``BridgeError`` where a client is refused, ``ConfigError``
where an operator is, and what must never fail does not.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson
from aiohttp.test_utils import make_mocked_request
from transcripts import load, names
from yarl import URL

from defence.frames import FRAMES
from defence.mutations import JUNK, NAMES, spelled, torn, wrong
from defence.providers import PROVIDERS
from defence.strangers import MORE
from ws_bridge.config import Settings
from ws_bridge.config import load as load_config
from ws_bridge.errors import BridgeError, ConfigError, ResponseNotFound, UpstreamError
from ws_bridge.protocol.actions import (
    AcceptSteer,
    CloseConnection,
    ConnectionLimits,
    PublishDraft,
    SendFrame,
    StartResponse,
    StopResponse,
)
from ws_bridge.protocol.connection import Connection
from ws_bridge.protocol.conversation import entries_of, read_items, read_metadata
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.protocol.history import Chain, Turn, input_items
from ws_bridge.protocol.json_edit import replaced
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.request import parse_create
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sealing import UNSIGNED
from ws_bridge.protocol.sequencer import Sequencer, end_for
from ws_bridge.server.http.json import flag, integer, page
from ws_bridge.server.transport.frame_scanner import FrameScanner
from ws_bridge.upstream.errors import classify, provider_error, redacted, retry_after
from ws_bridge.upstream.websocket.errors import parse_error

Json = dict[str, Any]
Target = Callable[[Random], None]

RULES = ConnectionLimits(running=2, lanes=3, queued=3, cached_turns=3, steers=2)
OWN_KEYS = ("type", "sequence_number", "stream_id")  # no draft carries them
DRAFTS: list[list[Draft]] = [
    drafts
    for name in names()
    if (drafts := [step for step in load(name) if isinstance(step, Draft)])
]
DEMO = '[[models]]\nname = "demo"\nmodel = "demo/demo"\ndrop_params = true\n'
CONFIGS = (DEMO, Path(__file__).parents[2].joinpath("config.toml").read_text())
ENVIRON = {"OPENAI_API_KEY": "k", "WS_BRIDGE_KEYS": "a,b"}
HEADERS = ("retry-after", "retry-after-ms", "Retry-After")
TIMES = ("1", "-1", "inf", "-inf", "nan", "1e999", "1e308", "0x10", "", " 7 ", "٣", "9" * 400)
TIMES += ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "1 Jan 1 0:0:0 +9999")
REFUSAL: Json = {
    "type": "error",
    "status": 429,
    "error": {"message": "no", "type": "t", "code": "c", "param": "p", "headers": {}},
    "headers": {"retry-after": "1"},
}
REASONS = ("server_error", "rate_limit_exceeded", "invalid_prompt", "insufficient_quota")


def frames(rng: Random) -> None:
    """What a client sends on one connection, mixed with what becomes of it."""
    connection = Connection(RULES)
    running: list[StartResponse] = []
    for number in range(rng.randint(1, 6)):
        text = spelled(wrong(rng.choice(FRAMES), rng), rng)
        text = torn(text, rng, 1) if rng.random() < 0.3 else text
        as_text = rng.random() < 0.5
        actions = connection.receive(text.decode("utf-8", "replace") if as_text else text)
        if rng.random() < 0.5 and running:
            start = running.pop(rng.randrange(len(running)))
            turn = Turn(f"resp_{number}", start.request.items(), (), "maker", start.parent)
            connection.keep_turn(start.lane, turn if rng.random() < 0.7 else None)
            actions += connection.response_ended(
                start, failed=rng.random() < 0.3, last=rng.randint(-1, 9)
            )
        for action in actions:
            _check_action(action)
            if isinstance(action, StartResponse):
                running.append(action)
                connection.response_created(action.lane, f"resp_{number}")


def _check_action(action: Any) -> None:
    """It can be carried out."""
    if isinstance(action, SendFrame):
        orjson.dumps(action.frame)
    elif isinstance(action, PublishDraft):
        Event.of(action.draft, 1, action.lane).json()
    elif isinstance(action, StartResponse):
        with contextlib.suppress(BridgeError):
            chain = UNSIGNED.open(Chain(action.parent, action.request.items()))
            chain.check_calls()
            chain.items_for("maker")
        orjson.dumps(action.request.passed_on())
    else:
        assert isinstance(action, AcceptSteer | StopResponse | CloseConnection)


def bodies(rng: Random) -> None:
    """The bodies of creates and of conversations."""
    body = wrong(rng.choice(FRAMES), rng, 4)
    if not isinstance(body, dict):
        return
    with contextlib.suppress(BridgeError):
        request = parse_create(body, rng.choice((None, "m")))
        listed = input_items("resp_1", request.items())
        assert len(listed) == len(request.items())
        orjson.dumps(listed)
    with contextlib.suppress(BridgeError):
        read_metadata(body.get("metadata", body))
    with contextlib.suppress(BridgeError):
        orjson.dumps(
            [one.listed() for one in entries_of(read_items(body.get("input"), required=True))]
        )


def events(rng: Random) -> None:
    """What a provider streams, well or badly, up to what readers see of it."""
    script = list(rng.choice(DRAFTS))[:24]
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(script))
        script[at : at + rng.randint(0, 2)] = [_draft(rng.choice(script), rng)]
        script = script or [Draft("response.failed", {})]
    sequencer = Sequencer(Envelope("resp_1", "m", 1, {"tools": []}), rng.choice((None, "a")), _now)
    said: list[Event] = sequencer.open() if rng.random() < 0.3 else []
    said += sequencer.sequence(script)
    cut = [event for event in said[: rng.randint(0, len(said))] if not event.is_terminal]
    if not sequencer.is_ended:
        said += _an_end(sequencer, said, rng)
    _check_story(said)
    _check_story([*cut, end_for("resp_1", cut, rng.choice((None, BridgeError())))], begun=bool(cut))


def _draft(draft: Draft, rng: Random) -> Draft:
    """One that is not as it should be; some with the provider's own text."""
    fields = wrong(draft.fields, rng, 3)
    fields = fields if isinstance(fields, dict) else {}
    kind = draft.type if rng.random() < 0.8 else rng.choice(("response.x", "", "response.created"))
    if rng.random() < 0.4:
        number = rng.choice((0, 7, 2**63, None, "x"))
        whole = {"sequence_number": number, "stream_id": "z", **fields, "type": kind}
        with contextlib.suppress(orjson.JSONDecodeError):
            text = spelled(whole, rng)
            parsed = {**orjson.loads(text)}
            for name in OWN_KEYS:
                parsed.pop(name, None)
            return Draft(kind, parsed, text)
    return Draft(kind, {name: each for name, each in _sane(fields).items() if name not in OWN_KEYS})


def _sane(fields: Json) -> Json:
    """As a parser of JSON could have made it."""
    try:
        parsed: Json = orjson.loads(orjson.dumps(fields))
    except (orjson.JSONEncodeError, orjson.JSONDecodeError):
        return {}
    return parsed


def _an_end(sequencer: Sequencer, said: list[Event], rng: Random) -> list[Event]:
    reducer = Reducer().fold(said)
    error = UpstreamError("m", status=rng.choice((400, 429, 500)), code=rng.choice(REASONS))
    ways = (
        lambda: sequencer.fail(error, reducer.partial_output()),
        sequencer.cancel,
        lambda: sequencer.interrupt(reducer.finished_items()),
        lambda: sequencer.steer(reducer.finished_items()),
    )
    return rng.choice(ways)()


def _check_story(said: list[Event], *, begun: bool = True) -> None:
    """Numbered without a hole, one end and nothing after it, and a poller can read every bit."""
    assert [event.number for event in said] == list(range(len(said)))
    assert [event.is_terminal for event in said] == [False] * (len(said) - 1) + [True]
    reducer = Reducer()
    for event in said:
        shown = event.json()
        assert shown["sequence_number"] == event.number
        assert b"\n" not in event.text or event.text.count(b"\n") == event.sse().count(b"\ndata:")
        assert Event.parse(event.text).type == event.type
        orjson.dumps(reducer.fold([event]).response())
        orjson.dumps([reducer.partial_output(), reducer.finished_items()])
    response = reducer.response()
    assert response["status"] in ("completed", "incomplete", "failed", "cancelled")
    if begun:
        assert response["id"] == "resp_1"


def _now() -> float:
    return 2.0


def wire(rng: Random) -> None:
    """A client's frames, good and bad: what is made of them does not hang on how they are cut."""
    text = torn(b"".join(_frame(rng) for _ in range(rng.randint(1, 6))), rng, 2)
    cuts = sorted(rng.randint(0, len(text)) for _ in range(rng.randint(0, 9)))
    pieces = [text[at:to] for at, to in itertools.pairwise((0, *cuts, len(text)))]
    assert _followed(pieces) == _followed([text])


def _followed(pieces: list[bytes]) -> Any:
    """The first breach; without one, where the stream stands."""
    frames = FrameScanner(fragments=3, controls=3)
    for piece in pieces:
        if piece and frames.is_whole(piece):
            other = FrameScanner(fragments=3, controls=3)
            assert other.scan(piece, 1.0) is None
            assert (other.remaining, other.is_at_boundary) == (0, True), "whole is whole"
        if breach := frames.scan(piece, 1.0):
            return breach
    seen = (frames.remaining, frames.received, frames.is_at_boundary, frames.boundaries)
    return *seen, frames.is_closed


def _frame(rng: Random) -> bytes:
    """A frame of a client's, mostly with the length that it says."""
    payload = rng.randbytes(rng.choice((0, 1, 2, 5, 125, 126, 130)))
    length = rng.choice((len(payload),) * 9 + (0, 2**16, 2**63, 2**64 - 1))
    first = rng.choice((0x81, 0x82, 0x01, 0x00, 0x80, 0x88, 0x89, 0x8A, 0xC1, 0x8F))
    wide = 2 if length >= 126 else 0
    wide = 8 if length >= 2**16 or rng.random() < 0.1 else wide
    size = {0: bytes([length & 127]), 2: b"\x7e", 8: b"\x7f"}[wide] + length.to_bytes(8, "big")[
        8 - wide :
    ]
    masked = bytes([size[0] | (0x80 if rng.random() < 0.95 else 0)]) + size[1:]
    return bytes([first]) + masked + rng.randbytes(4) + payload


def splices(rng: Random) -> None:
    """Values replaced inside of JSON text: the same as in the object itself."""
    thing = wrong(rng.choice(FRAMES), rng, 3)
    if not isinstance(thing, dict) or not thing:
        return
    text = spelled(thing, rng)
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    keys = [*rng.sample(list(thing), min(2, len(thing))), rng.choice(NAMES)]
    values = {key: rng.choice((None, 1, "x", {"a": [1]})) for key in keys if _is_plain(key)}
    for key in [key for key in values if values[key] is None][0 if len(thing) == 1 else 1 :]:
        values[key] = 0  # one member goes away at most, and not the only one
    raw = {
        orjson.dumps(key): None if value is None else orjson.dumps(value)
        for key, value in values.items()
    }
    kept = {key: value for key, value in thing.items() if key not in values}
    added = {key: value for key, value in values.items() if value is not None}
    assert json.loads(replaced(text, raw)) == json.loads(json.dumps(kept | added))


def _is_plain(key: str) -> bool:
    """Whether it is written the one way only; ours all are."""
    return key.isascii() and key.isprintable() and '"' not in key and "\\" not in key


def cursors(rng: Random) -> None:
    """Ids, cursors and flags of paths and queries."""
    texts = [str(junk) for junk in JUNK if isinstance(junk, str | int | float)]
    query = {
        name: torn(rng.choice(texts).encode("utf-8", "replace"), rng, 1).decode("utf-8", "replace")
        for name in ("starting_after", "limit", "order", "after", "stream")
        if rng.random() < 0.7
    }
    request = make_mocked_request("GET", str(URL("/v1/responses/x").with_query(query)))
    with contextlib.suppress(BridgeError):
        after = integer(request, "starting_after", default=-1)
        assert -(10**18) < after < 10**18
    with contextlib.suppress(BridgeError):
        flag(request, "stream")
    with contextlib.suppress(BridgeError):
        shown = page(request, [{"id": f"msg_{number}"} for number in range(rng.randint(0, 120))])
        assert len(shown["data"]) <= 100
    orjson.dumps(ResponseNotFound(rng.choice(texts)).body())


def failures(rng: Random) -> None:
    """What a provider says when it refuses."""
    body = wrong(REFUSAL, rng, 4)
    text = torn(spelled(body, rng), rng).decode("utf-8", "replace")
    headers = {rng.choice(HEADERS): rng.choice(TIMES)}
    told = [_failure(body, text), Exception(text), Exception()]
    for failure in told:
        error = classify(failure)
        assert isinstance(error, UpstreamError)
        _speak(error)
        provider_error(failure)
    redacted(text)
    if isinstance(body, dict):
        _speak(parse_error(body))
    _speak(UpstreamError("m", status=429, retry_after=retry_after(headers)))


class _Refused(Exception):
    body: Any = None
    message: Any = None
    status_code: Any = None
    code: Any = None


def _failure(body: Any, text: str) -> Exception:
    failure = _Refused(text)
    failure.body, failure.message = body, text
    failure.status_code = body.get("status") if isinstance(body, dict) else 400
    return failure


def _speak(error: BridgeError) -> None:
    """In all its forms."""
    orjson.dumps([error.body(), error.frame("a"), error.response_error()])
    assert all("\n" not in value for value in error.headers().values())
    assert 100 <= error.status <= 599


def configs(rng: Random) -> None:
    """The operator's file."""
    text = torn(rng.choice(CONFIGS).encode(), rng, 3)
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(text)
        file.flush()
        with contextlib.suppress(ConfigError):
            assert isinstance(load_config(Path(file.name), ENVIRON), Settings)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (frames, bodies, wire, events, splices, cursors, failures, configs)
}
TARGETS |= MORE | PROVIDERS
