"""Reading off the wire and reading what litellm makes of it: the same answers, errors and usage."""

import asyncio
import json
import re
from itertools import product

import pytest
from support.hang import HANG_SECONDS
from upstreams.asking import ask, request, target
from upstreams.responses import ResponsesScript

from ws_bridge.protocol.events import LIFECYCLE
from ws_bridge.upstream.litellm import client, direct, sources
from ws_bridge.upstream.litellm.direct import data_of

NATIVE = """text reasoning rawreasoning tools rtools refusal annot logprobs phase image custom x-ci
    mcp incomplete incompletecf queued unknownev errevent failed failed400 failedearly drop cleaneof
    badline pre1drop zerobytes nontype""".split()
VARIES = ("obfuscation", "sequence_number")


def slowly(monkeypatch):
    """From now on litellm makes everything."""
    monkeypatch.setattr(
        direct, "DirectNative", lambda opened, _tap, **more: sources.Native(opened, **more)
    )


def told(answer):
    drafts = []
    for draft in answer.drafts:
        fields = {name: value for name, value in draft.fields.items() if name not in VARIES}
        if isinstance(fields.get("response"), dict):
            fields["response"] = {**fields["response"], "id": "litellm's, until numbered"}
        drafts.append((draft.type, fields))
    error = answer.error
    return drafts, error and (error.status, error.code, str(error))


@pytest.mark.parametrize("scenario", NATIVE)
async def test_both_ways_say_the_same(fake, monkeypatch, scenario):
    asked = request(target(fake, "native", scenario))
    fast = told(await ask(asked))
    slowly(monkeypatch)
    assert fast == told(await ask(asked))


CHAT = """text tools textools rtools reasoning interleavereasoning bothreasoning oneshottool
    noargtool noidtool length cfilter logprobs nofinish nousage drop cleaneof badline
    midmsgerr""".split()
ANTHROPIC = """text thinking tool thinking-texttool redacted-thinking noarg thinking-interleave
    maxtok refusal cite drop cleaneof badline miderr""".split()


@pytest.mark.parametrize(
    ("family", "scenario"),
    [*product(("chat", "sdk"), CHAT), *product(("anthropic",), ANTHROPIC)],
    ids=str,
)
async def test_a_bridged_answer_is_the_same_both_ways(fake, monkeypatch, family, scenario):
    asked = request(target(fake, family, scenario))
    fast = await ask(asked)
    monkeypatch.setattr(direct, "DirectChat", SlowChat)
    slow = await ask(asked)
    assert nameless(fast) == nameless(slow)


class SlowChat(sources.Chat):
    """Litellm makes all chunks."""

    def __init__(self, opened, chunks, _tap, _reader, drafts):
        super().__init__(opened, chunks, frozenset())
        self._drafts = drafts


def nameless(answer):
    """What was told, without the ids that are made up anew each time."""
    drafts = json.dumps([(draft.type, draft.fields) for draft in answer.drafts])
    error = answer.error
    plain = re.sub(r"\b(msg|rs|fc|ctc|call|ig)_[0-9a-f-]{20,}", r"\1", drafts)
    return plain, error and (error.status, error.code, str(error))


async def test_plain_chunks_pass_litellm_by(fake, monkeypatch):
    made = []
    monkeypatch.setattr(
        direct, "chunk_of", lambda chunk: made.append(chunk) or sources.chunk_of(chunk)
    )
    for family in ("chat", "sdk"):
        answer = await ask(request(target(fake, family, "big1000")))
        assert len(answer.drafts) > 1000
    assert len(made) < 20


@pytest.mark.parametrize("scenario", ["text", "tools", "reasoning", "unknownev"])
async def test_an_event_keeps_the_providers_own_bytes(fake, scenario):
    answer = await ask(request(target(fake, "native", scenario)))
    events = ResponsesScript(f"gpt-{scenario}").events()
    sent = [json.dumps(event).encode() for event in events if event["type"] not in LIFECYCLE]
    said = [draft.text for draft in answer.drafts if draft.type not in LIFECYCLE]
    assert said == sent


async def test_what_a_provider_has_not_counted_litellm_counts(fake, monkeypatch):
    asked = request(target(fake, "native", "nousage"))
    fast = await ask(asked)
    slowly(monkeypatch)
    slow = await ask(asked)
    assert fast.response["usage"] == slow.response["usage"]
    assert fast.response["usage"]["output_tokens"] > 0


async def test_whoever_listens_to_litellm_hears_of_the_whole_answer(fake, monkeypatch):
    heard = asyncio.Queue()

    async def listen(kwargs, response, _start, _end):
        heard.put_nowait((kwargs["model"], response.usage["total_tokens"]))

    litellm = client.litellm
    monkeypatch.setattr(litellm, "success_callback", [listen])
    monkeypatch.setattr(litellm, "_async_success_callback", [])  # where litellm moves it
    await ask(request(target(fake, "native", "text")))
    async with asyncio.timeout(HANG_SECONDS):
        (model, tokens) = await heard.get()
    assert (model, tokens > 0) == ("gpt-text", True)
    assert heard.empty()


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        (b'event: x\ndata: {"a":1}\n\n', b'{"a":1}'),
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b'data:{"a":1}\n\n', b'{"a":1}'),
        (b'event:x\r\ndata: {"a":1}\r\n\r\n', b'{"a":1}'),
        (b'event: x\rdata: {"a":1}\r\r', b'{"a":1}'),
        (b'data: {"a":\ndata: 1}\n\n', b""),
        (b'id: 7\ndata: {"a":1}\n\n', b""),
        (b'event: x\nid: 7\ndata: {"a":1}\n\n', b""),
        (b'data: {"a":1}\nevent: x\n\n', b""),
        (b'data: {"a":1}', b""),
        (b"data: [DONE]\n\n", b""),
        (b": keep-alive\n\n", b""),
        (b'\xef\xbb\xbfdata: {"a":1}\n\n', b""),
    ],
)
def test_only_one_line_of_data_with_its_type_is_read_here(frame, data):
    assert data_of(frame) == data
