"""The dialects' upstream, with a small dialect of this test's own, against a raw provider."""

import asyncio
import json
import logging
from dataclasses import dataclass, replace

import pytest
from support.fake_clock import let_others_run
from upstreams.asking import HELLO, Pauses
from upstreams.raw import begins, hangs_up, is_silent, says

from ws_bridge.errors import TRUNCATED, InvalidRequest, UpstreamError
from ws_bridge.pacing import HEAVY
from ws_bridge.protocol.events import COMPLETED, INCOMPLETE, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.upstream.base import COMPLETE, Request, Target
from ws_bridge.upstream.dialects.base import Family, ProviderRequest
from ws_bridge.upstream.dialects.event_reader import EventReader
from ws_bridge.upstream.dialects.table import RequestTable
from ws_bridge.upstream.dialects.writing import ModelFacts
from ws_bridge.upstream.errors import (
    LOST,
    NOT_SENT,
    REDIRECTED,
    SILENT,
    TIMED_OUT,
    TOO_LARGE,
    NotSent,
)
from ws_bridge.upstream.http.upstream import CONTINUATIONS, UNWRITABLE, DialectUpstream
from ws_bridge.upstream.provider_errors import error_of

SILENCE = 100.0
LIFE = 500.0


class SmallReader(EventReader):
    """Events are `{"say": text}`, `{"end": true}`, `{"pause": thing}` and `{"error": …}`."""

    def __init__(self, given):
        super().__init__(given)
        self.paused = None

    def _event(self, event):
        return self._whole(json.loads(event.data))

    def _whole(self, told):
        if "crash" in told:
            raise KeyError(told["crash"])
        if "error" in told:
            raise error_of(None, told)
        self.paused = told.get("pause")
        if "end" in told:
            return [terminal(COMPLETED)]
        return (
            [Draft("response.output_text.delta", {"delta": told["say"]})] if "say" in told else []
        )

    def _end_of_wire(self):
        return [terminal(INCOMPLETE)] if self.paused else super()._end_of_wire()

    def continuation(self, body):
        paused, self.paused = self.paused, None
        return {**body, "said": [*body.get("said", ()), paused]}


def terminal(kind):
    return Draft(kind, {"response": {}})


def write(given):
    if refused := given.options.get("refuse"):
        raise refused
    body = {"model": given.model, "items": given.items, "prompt_cache": given.prompt_cache}
    most, reasons = given.max_output_tokens, given.supports_reasoning
    body |= {"most": most, "reasons": reasons, "tools": [*given.tools.tools]}
    return ProviderRequest(
        body | given.options.get("more", {}), {"x-dialect": "small"}, given.tools
    )


FAMILY = Family("small", RequestTable({}, {}, {}, {}, {}), write, SmallReader)


@dataclass(frozen=True)
class SmallAccess:
    url: str

    async def headers(self, given, body):
        return {**given, "authorization": f"Bearer k{len(body)}"}


@pytest.fixture
def pauses():
    return Pauses()


@pytest.fixture
def upstream(client, pauses):
    async def access(target):
        return SmallAccess(target.api_base)

    return DialectUpstream(
        client=client,
        families={"small": FAMILY},
        family_of=lambda _: "small",
        access=access,
        facts=lambda _: ModelFacts("model-1", "small", True, 64_000),
        clock=pauses.clock,
        jitter=lambda: 0.5,
    )


@pytest.fixture
def request_of(provider):
    def made(*, items=(HELLO,), retries=0, most_bytes=10_000, **options):
        target = Target(
            "x",
            "small/model-1",
            provider.base_url,
            retries=retries,
            most_bytes=most_bytes,
            stall_seconds=SILENCE,
            timeout_seconds=LIFE,
        )
        return Request(target, Chain(None, tuple(items)), options)

    return made


def sse(*events):
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


SAY, END = {"say": "hi"}, {"end": True}


async def rest_of(answer):
    """All drafts of an answer: the first and the read ones."""
    drafts = [*answer.first]
    try:
        while (read := await answer.read()) is not None:
            drafts += read
    finally:
        await answer.close(COMPLETE)
    return [draft.fields.get("delta") or draft.type for draft in drafts]


async def failure_of(upstream, request):
    async def whole():
        return await rest_of(await upstream.open(request))

    with pytest.raises(UpstreamError) as failed:
        await whole()
    return failed.value


async def test_an_answer_is_opened_read_and_closed(provider, upstream, request_of):
    provider.scripts = [says(sse(SAY), sse({"say": "you"}, END))]
    answer = await upstream.open(request_of())
    assert answer.first[0].fields["delta"] == "hi"
    assert await rest_of(answer) == ["hi", "you", COMPLETED]
    assert await answer.read() is None


async def test_the_body_is_the_dialects_and_the_proof_is_of_its_bytes(
    provider, upstream, request_of
):
    provider.scripts = [says(sse(SAY, END))]
    tool = {"type": "function", "name": "f", "parameters": {}}
    await rest_of(await upstream.open(request_of(tools=[tool])))
    [(_, headers, body)] = provider.requests
    assert json.loads(body) == {
        "model": "model-1",
        "items": [HELLO],
        "prompt_cache": True,
        "most": 64_000,
        "reasons": True,
        "tools": ["f"],
    }
    assert headers["content-type"] == "application/json"
    assert headers["x-dialect"] == "small"
    assert headers["authorization"] == f"Bearer k{len(body)}"


async def test_a_long_history_is_written_beside_the_loop(provider, upstream, request_of):
    provider.scripts = [says(sse(SAY, END))]
    await rest_of(await upstream.open(request_of(items=[HELLO] * (HEAVY + 1))))
    assert len(json.loads(provider.requests[0][2])["items"]) == HEAVY + 1


async def test_a_complete_answers_connection_is_used_again(provider, upstream, request_of):
    provider.scripts = [says(sse(SAY, END))]
    for _ in range(3):
        await rest_of(await upstream.open(request_of()))
    assert provider.connections == 1


async def test_an_abandoned_answers_connection_is_closed(provider, upstream, request_of):
    provider.scripts = [begins(sse(SAY), ends=False)]
    answer = await upstream.open(request_of())
    await answer.close()
    await provider.until(lambda: provider.closed == 1)


async def test_what_comes_after_the_end_is_not_read(provider, upstream, request_of):
    provider.scripts = [says(sse(SAY, END), sse({"error": "late"}))]
    assert await rest_of(await upstream.open(request_of())) == ["hi", COMPLETED]


async def test_json_is_read_where_no_stream_comes(provider, upstream, request_of):
    provider.scripts = [says(json.dumps(END).encode())]
    assert await rest_of(await upstream.open(request_of())) == [COMPLETED]


# Errors of the request


@pytest.mark.parametrize(
    "refusal",
    [
        UpstreamError("No such tool.", status=400, code="unsupported_parameter", param="tools[1]"),
        InvalidRequest("No such tool.", param="tools[1]"),
    ],
)
async def test_what_the_dialect_cannot_say_is_refused_before_a_byte_goes_out(
    provider, upstream, request_of, refusal, caplog
):
    caplog.set_level(logging.INFO)
    failure = await failure_of(upstream, request_of(retries=2, refuse=refusal))
    assert (failure.status, failure.param, failure.code) == (400, "tools[1]", refusal.code)
    assert provider.requests == []
    assert "provider_failed" not in caplog.text


async def test_what_no_json_can_hold_is_a_400(provider, upstream, request_of):
    for value in ("\ud800", 2**70):
        failure = await failure_of(upstream, request_of(retries=2, more={"x": value}))
        assert (failure.status, failure.message) == (400, UNWRITABLE)
    assert provider.requests == []


async def test_a_fault_of_the_writer_is_ours(provider, upstream, request_of, caplog):
    failure = await failure_of(upstream, request_of(retries=2, refuse=KeyError("sk-secret")))
    assert (type(failure), failure.status, failure.message) == (NotSent, 500, NOT_SENT)
    assert provider.requests == []
    assert "request_not_written" in caplog.text
    assert "sk-secret" not in caplog.text


async def test_a_target_without_credentials_is_told_and_logged(
    provider, upstream, request_of, caplog
):
    async def nowhere(_):
        raise UpstreamError("No credentials.", status=500)

    caplog.set_level(logging.INFO)
    upstream._access = nowhere
    failure = await failure_of(upstream, request_of(retries=2))
    assert (failure.status, failure.message) == (500, "No credentials.")
    assert provider.requests == []
    assert "provider_failed model=small/model-1 kind=UpstreamError status=500" in caplog.text


# Errors of the provider

PASSING = {
    "no connection": hangs_up,
    "cut before a word": begins(b": hello\n\n"),
    "reset": begins(b": hello\n\n", resets=True),
    "500": says(b"{}", status="500 Internal"),
    "429": says(b"{}", status="429 Too Many", headers="retry-after: 3\r\n"),
    "an error in the stream": says(sse({"error": {"code": "overloaded_error", "message": "busy"}})),
}


@pytest.mark.parametrize("script", PASSING.values(), ids=PASSING)
async def test_what_passes_is_asked_again_while_nothing_was_said(
    provider, upstream, request_of, pauses, script
):
    provider.scripts = [script, script, says(sse(SAY, END))]
    assert await rest_of(await upstream.open(request_of(retries=2))) == ["hi", COMPLETED]
    assert len(provider.requests) == 3
    expected = [3.0, 3.0] if script is PASSING["429"] else [0.25, 0.5]
    assert pauses.taken == expected


async def test_what_does_not_pass_is_told_in_the_providers_words(
    provider, upstream, request_of, caplog
):
    caplog.set_level(logging.INFO)
    error = {"error": {"message": "No such model.", "code": "model_not_found", "param": "model"}}
    provider.scripts = [says(json.dumps(error).encode(), status="404 Not Found")]
    failure = await failure_of(upstream, request_of(retries=2))
    assert failure.fields() == {
        "message": "No such model.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert len(provider.requests) == 1
    assert "provider_failed model=small/model-1 kind=UpstreamError status=404" in caplog.text
    assert "No such model" not in caplog.text


async def test_the_last_error_is_told_when_all_attempts_failed(provider, upstream, request_of):
    provider.scripts = [hangs_up, says(b"{}", status="503 Busy")]
    failure = await failure_of(upstream, request_of(retries=1))
    assert failure.status == 503


async def test_a_redirect_is_a_failure(provider, upstream, request_of):
    location = f"location: {provider.base_url}/else\r\n"
    provider.scripts = [says(status="307 Temporary", headers=location)]
    failure = await failure_of(upstream, request_of())
    assert (failure.status, failure.message) == (502, REDIRECTED)
    assert len(provider.requests) == 1


async def test_an_error_after_words_ends_the_answer(provider, upstream, request_of):
    error = {"error": {"message": "It broke.", "code": "server_error"}}
    provider.scripts = [says(sse(SAY, error))]
    answer = await upstream.open(request_of(retries=2))
    assert len(answer.first) == 1
    with pytest.raises(UpstreamError, match="It broke"):
        await answer.read()
    await answer.close()
    assert len(provider.requests) == 1


async def test_an_error_is_told_though_its_provider_says_no_more(provider, upstream, request_of):
    provider.scripts = [begins(sse(SAY, {"error": {"message": "It broke."}}), ends=False)]
    answer = await upstream.open(request_of())
    with pytest.raises(UpstreamError, match="It broke"):
        await answer.read()
    await answer.close()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (says(sse(SAY)), TRUNCATED),
        (begins(sse(SAY)), LOST),
        (begins(sse(SAY), resets=True), LOST),
        (says(sse(SAY), b"x" * 20_000), TOO_LARGE),
    ],
)
async def test_a_cut_answer_is_never_a_complete_one(
    provider, upstream, request_of, script, message
):
    provider.scripts = [script]
    assert (await failure_of(upstream, request_of(retries=2))).message == message
    assert len(provider.requests) == 1


async def test_what_the_reader_stumbles_over_is_one_clear_error(provider, upstream, request_of):
    provider.scripts = [says(sse(SAY), sse({"crash": "sk-secret"}))]
    failure = await failure_of(upstream, request_of())
    assert failure.status == 502
    assert "sk-secret" not in failure.message


# Time


async def test_a_silent_provider_is_given_up_and_not_asked_again(provider, upstream, request_of):
    provider.scripts = [is_silent]
    opening = asyncio.ensure_future(upstream.open(request_of(retries=2)))
    await provider.until(lambda: len(provider.requests) == 1)
    asyncio.get_running_loop().turn(SILENCE)
    with pytest.raises(UpstreamError, match=SILENT) as failed:
        await opening
    assert failed.value.status == 504
    await provider.until(lambda: provider.closed == 1)
    assert len(provider.requests) == 1


async def test_a_stream_that_stands_still_is_given_up(provider, upstream, request_of):
    provider.scripts = [begins(sse(SAY), ends=False)]
    answer = await upstream.open(request_of())
    reading = asyncio.ensure_future(answer.read())
    await let_others_run()
    asyncio.get_running_loop().turn(SILENCE)
    with pytest.raises(UpstreamError, match=SILENT):
        await reading
    await answer.close()


async def test_an_endless_error_is_given_up(provider, upstream, request_of):
    async def trickles(one, writer):
        writer.write(b"HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await one.gate.wait()
        return False

    provider.scripts = [trickles]
    opening = asyncio.ensure_future(upstream.open(request_of(retries=2)))
    await provider.until(lambda: len(provider.requests) == 1)
    await let_others_run()
    asyncio.get_running_loop().turn(SILENCE)
    with pytest.raises(UpstreamError, match=SILENT):
        await opening
    provider.gate.set()


async def test_a_response_has_a_whole_life(provider, upstream, request_of):
    provider.scripts = [begins(sse(SAY), ends=False)]
    answer = await upstream.open(request_of())
    asyncio.get_running_loop().turn(LIFE)
    with pytest.raises(UpstreamError, match=TIMED_OUT):
        await answer.read()
    await answer.close()


async def test_a_caller_that_gives_up_leaves_nothing_open(provider, upstream, request_of):
    provider.scripts = [begins(b": hello\n\n", ends=False)]
    opening = asyncio.ensure_future(upstream.open(request_of()))
    await provider.until(lambda: len(provider.requests) == 1)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await provider.until(lambda: provider.closed == 1)


async def test_two_hundred_answers_at_once(provider, upstream, request_of):
    provider.scripts = [says(sse(SAY), sse(END))]

    async def one():
        return await rest_of(await upstream.open(request_of()))

    answers = await asyncio.gather(*(one() for _ in range(200)))
    assert answers == [["hi", COMPLETED]] * 200


# Providers that pause

PAUSE = {"pause": "words so far"}


async def test_a_provider_that_pauses_is_asked_to_go_on(provider, upstream, request_of):
    provider.scripts = [says(sse(SAY, PAUSE)), says(sse({"say": "more"}, END))]
    assert await rest_of(await upstream.open(request_of())) == ["hi", "more", COMPLETED]
    first, second = (json.loads(body) for _, _, body in provider.requests)
    assert second == first | {"said": ["words so far"]}
    assert provider.connections == 1
    lengths = [headers["authorization"] for _, headers, _ in provider.requests]
    assert lengths[0] != lengths[1]  # the proof is of the new bytes


async def test_it_is_asked_so_often_and_then_the_answer_is_incomplete(
    provider, upstream, request_of
):
    provider.scripts = [says(sse(SAY, PAUSE))]
    said = await rest_of(await upstream.open(request_of()))
    assert said == [*["hi"] * (CONTINUATIONS + 1), INCOMPLETE]
    assert len(provider.requests) == CONTINUATIONS + 1


async def test_all_that_it_says_in_turn_has_one_bound(provider, upstream, request_of):
    """Each answer alone is within it; the third exceeds the sum."""
    page = sse(SAY, PAUSE)
    provider.scripts = [says(page)]
    answer = await upstream.open(request_of(most_bytes=3 * len(page) - 1))
    with pytest.raises(UpstreamError) as refused:
        await rest_of(answer)
    assert refused.value.message == TOO_LARGE
    assert len(provider.requests) == 3


async def test_a_reader_that_never_ends_is_no_endless_loop(
    provider, upstream, request_of, monkeypatch
):
    monkeypatch.setattr(SmallReader, "_end_of_wire", lambda _: [])
    provider.scripts = [says(sse(PAUSE))]
    assert (await failure_of(upstream, request_of())).message == TRUNCATED
    assert len(provider.requests) == CONTINUATIONS + 1


async def test_a_provider_that_pauses_before_a_word_is_asked_to_go_on(
    provider, upstream, request_of
):
    provider.scripts = [says(sse(PAUSE)), says(sse(SAY, END))]
    assert await rest_of(await upstream.open(request_of())) == ["hi", COMPLETED]


async def test_an_error_of_a_continuation_is_told_and_not_tried_again(
    provider, upstream, request_of
):
    provider.scripts = [says(sse(SAY, PAUSE)), says(b'{"error": "gone"}', status="500 Oh")]
    failure = await failure_of(upstream, request_of(retries=2))
    assert (failure.status, failure.message) == (500, "gone")
    assert len(provider.requests) == 2


async def test_a_target_without_prompt_cache_says_so(provider, upstream, request_of):
    provider.scripts = [says(sse(SAY, END))]
    request = request_of()
    request = replace(request, target=replace(request.target, prompt_cache=False))
    await rest_of(await upstream.open(request))
    assert json.loads(provider.requests[0][2])["prompt_cache"] is False
