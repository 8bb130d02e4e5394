"""One target after the other until one answers; of a failed try nothing is seen."""

import asyncio
from contextlib import aclosing

import pytest
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.clock import Clock
from ws_bridge.errors import ModelNotFound, UpstreamError
from ws_bridge.protocol.events import COMPLETED, CREATED, FAILED, IN_PROGRESS, QUEUED, Draft
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.fallbacks import Fallbacks
from ws_bridge.upstream.model_table import ModelRoute, ModelTable

HELLO = {"type": "message", "role": "user", "content": "hi"}
A, B, C = Target("a", "openai/a"), Target("b", "groq/b"), Target("c", "anthropic/c")
NEXT = [408, 409, 429, 500, 502, 503, 504, 529]
NEVER = [400, 401, 403, 404, 413, 422]


class Bridge:
    """Fallbacks over scripts by model; a script is used again when it is the last one."""

    def __init__(self, routes=None, **scripts):
        self.time = 1000.0
        self.scripted = {name: Scripted(*script) for name, script in scripts.items()}
        self.asked = []
        self.tried = []
        chain = [ModelRoute("a", A, fallbacks=("b", "c")), ModelRoute("b", B), ModelRoute("c", C)]
        self.routes = ModelTable(routes or chain)
        clock = Clock(monotonic=lambda: self.time)
        self.upstream = Fallbacks(self, self.routes.candidates, clock)

    def respond(self, request):
        self.asked.append(request)
        return self.scripted[name_of(request)].respond(request)

    async def count_tokens(self, request):
        return len(request.input())

    def request(self, name="a", chain=Chain(None, (HELLO,)), **more):  # noqa: B008 - frozen
        return Request(self.routes.find(name), chain, {}, tried=self.tried.append, **more)

    async def ask(self, name="a", **more):
        async with aclosing(self.upstream.respond(self.request(name, **more))) as drafts:
            return [draft async for draft in drafts]

    def names(self):
        return [name_of(request) for request in self.asked]

    def outcomes(self):
        return [f"{one.target.name} {one.outcome}" for one in self.tried]


def name_of(request):
    return request.target.model.partition("/")[2]


def text_of(drafts):
    return "".join(draft.fields.get("delta", "") for draft in drafts)


def failed(code):
    error = {"code": code, "message": "words"}
    return Draft(FAILED, {"response": {"status": "failed", "error": error, "output": []}})


@pytest.mark.parametrize("status", NEXT)
async def test_what_somebody_else_may_do_better_is_asked_of_the_next(status):
    bridge = Bridge(a=[[UpstreamError(status=status)]], b=[answer("from b")])
    drafts = await bridge.ask()
    assert text_of(drafts) == "from b"
    assert bridge.outcomes() == [f"a {status}", "b answers"]


@pytest.mark.parametrize("status", NEVER)
async def test_what_has_to_be_mended_is_told_at_once_and_nobody_rests_for_it(status):
    bridge = Bridge(a=[[UpstreamError(status=status)], answer("a")], b=[answer("b")])
    with pytest.raises(UpstreamError) as told:
        await bridge.ask()
    assert told.value.status == status
    assert bridge.outcomes() == [f"a {status}"]
    assert text_of(await bridge.ask()) == "a"


async def test_when_all_fail_the_last_ones_error_is_told_and_each_was_asked_once():
    bridge = Bridge(
        a=[[UpstreamError(status=500)]],
        b=[[UpstreamError(status=429)]],
        c=[[UpstreamError("its words", status=503)]],
    )
    with pytest.raises(UpstreamError) as told:
        await bridge.ask()
    assert (told.value.status, told.value.message) == (503, "its words")
    assert bridge.names() == ["a", "b", "c"]


OPENINGS = [opening("gpt-a"), opening("gpt-a")[:1], [Draft(QUEUED, {"response": {}})]]
BREAKS = [[UpstreamError()], [failed("server_error")], [failed("rate_limit_exceeded")], []]


@pytest.mark.parametrize("broken", BREAKS, ids=["error", "failed", "limited", "ended"])
@pytest.mark.parametrize("begun", OPENINGS, ids=["both", "created", "queued"])
async def test_a_response_that_was_only_opened_leaves_no_trace(begun, broken):
    bridge = Bridge(a=[[*begun, *broken]], b=[answer("from b")])
    drafts = await bridge.ask()
    kinds = [draft.type for draft in drafts]
    assert kinds[:2] == [CREATED, IN_PROGRESS]
    assert [kinds.count(kind) for kind in (CREATED, IN_PROGRESS, COMPLETED)] == [1, 1, 1]
    assert not any(draft.fields.get("response", {}).get("model") == "gpt-a" for draft in drafts)
    assert bridge.scripted["a"].open_now == 0


async def test_a_failed_response_that_says_the_request_is_wrong_is_the_answer():
    bridge = Bridge(a=[[*opening(), failed("invalid_prompt")]], b=[answer("b")])
    assert (await bridge.ask())[-1].type == FAILED
    assert bridge.outcomes() == ["a answers"]


@pytest.mark.parametrize("cut", range(1, len(message("x"))))
async def test_after_the_first_output_nobody_else_is_asked_but_the_broken_one_rests(cut):
    broken = [*opening(), *message("x")[:cut], UpstreamError()]
    bridge = Bridge(a=[broken, answer("a")], b=[answer("b")])
    with pytest.raises(UpstreamError):
        await bridge.ask()
    assert bridge.outcomes() == ["a answers"]
    assert text_of(await bridge.ask()) == "b"


async def test_a_target_without_an_alternative_opens_at_once():
    gate = asyncio.Event()
    bridge = Bridge(a=[[UpstreamError()]], b=[[UpstreamError()]], c=[[*opening(), gate]])
    for name in ("c", "a"):
        async with aclosing(bridge.upstream.respond(bridge.request(name))) as drafts:
            assert (await anext(drafts)).type == CREATED


async def test_a_resting_target_is_asked_last_and_again_when_it_has_rested():
    limited = UpstreamError(status=429, retry_after=30.0)
    bridge = Bridge(a=[[limited], answer("a")], b=[answer("b")])
    assert text_of(await bridge.ask()) == "b"
    bridge.time += 29
    assert text_of(await bridge.ask()) == "b"
    bridge.time += 1
    assert text_of(await bridge.ask()) == "a"
    assert bridge.names() == ["a", "b", "b", "a"]


async def test_a_name_of_its_own_is_asked_though_it_rests():
    bridge = Bridge(c=[[UpstreamError(status=429, retry_after=60.0)], answer("c")])
    with pytest.raises(UpstreamError):
        await bridge.ask("c")
    assert text_of(await bridge.ask("c")) == "c"


async def test_only_the_last_one_is_asked_with_its_retries():
    bridge = Bridge(a=[[UpstreamError()]], b=[[UpstreamError()]], c=[answer("c")])
    await bridge.ask()
    assert [request.target.retries for request in bridge.asked] == [0, 0, C.retries]


async def test_a_response_has_one_life_however_many_are_asked():
    class Slow(Bridge):
        def respond(self, request):
            self.time += 400
            return super().respond(request)

    bridge = Slow(a=[[UpstreamError()]], b=[[UpstreamError()]], c=[answer("c")])
    with pytest.raises(UpstreamError):
        await bridge.ask()
    assert [request.target.timeout_seconds for request in bridge.asked] == [600, 200]


async def test_entries_of_one_name_share_its_load_by_what_runs():
    shared = [Target("m", f"openai/{name}", f"http://{name}") for name in "ab"]
    gate = asyncio.Event()
    script = [*opening(), *message("x"), gate, completed()]
    bridge = Bridge([ModelRoute("m", target) for target in shared], a=[script], b=[script])
    running = [asyncio.create_task(bridge.ask("m")) for _ in range(6)]
    while sum(one.open_now for one in bridge.scripted.values()) < 6:  # noqa: ASYNC110 - a script runs
        await asyncio.sleep(0)
    assert [one.open_now for one in bridge.scripted.values()] == [3, 3]
    gate.set()
    await asyncio.gather(*running)


async def test_a_conversation_stays_with_the_account_that_made_its_last_turn():
    shared = [Target("m", f"openai/{name}", account=name) for name in "ab"]
    bridge = Bridge([ModelRoute("m", one) for one in shared], a=[answer("a")], b=[answer("b")])
    turn = Turn("resp_1", (HELLO,), (done_item("x"),), shared[1].maker)
    for _ in range(3):
        await bridge.ask("m", chain=Chain(turn, (HELLO,)))
    assert bridge.names() == ["b", "b", "b"]


async def test_sealed_reasoning_reaches_its_maker_only_whoever_sends_it():
    made = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AAA"}
    done = Draft("response.output_item.done", {"output_index": 0, "item": made})
    first = [*opening(), done, completed(made)]
    bridge = Bridge(a=[first, [UpstreamError()]], b=[answer("b")])
    await bridge.ask()
    await bridge.ask(chain=Chain(None, (HELLO, made, HELLO)))
    assert bridge.names() == ["a", "a", "b"]
    assert [item["type"] for item in bridge.asked[1].input()][1] == "reasoning"
    assert bridge.asked[2].input() == [HELLO, HELLO]


async def test_a_chain_keeps_its_text_and_loses_its_seals_where_another_answers():
    made = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AAA"}
    turn = Turn("resp_1", (HELLO,), (made, done_item("said")), A.maker)
    bridge = Bridge(a=[[UpstreamError()]], b=[answer("b")])
    await bridge.ask(chain=Chain(turn, (HELLO,)))
    assert [item["type"] for item in bridge.asked[0].input()].count("reasoning") == 1
    assert [item["type"] for item in bridge.asked[1].input()] == ["message"] * 3
    assert not any("id" in item for item in bridge.asked[1].input())


async def test_the_model_in_a_response_is_who_answered():
    bare = [Draft(draft.type, {"response": {"output": []}}) for draft in (*opening(), completed())]
    bridge = Bridge(a=[[UpstreamError()]], b=[bare])
    sequencer = Sequencer(Envelope("resp_1", "a", 1), None, lambda: 2.0)
    events = [event for draft in await bridge.ask() for event in sequencer.sequence(draft)]
    assert [event.json()["response"]["model"] for event in events] == ["b", "b", "b"]
    named = Bridge(a=[[UpstreamError()]], b=[answer("x")])
    assert (await named.ask())[0].fields["response"]["model"] == "gpt-scripted"


@pytest.mark.parametrize("script", [[], [*opening()], [*opening(), *message("x")]])
async def test_closing_it_at_any_point_closes_the_provider(script):
    bridge = Bridge(a=[[*script, asyncio.Event()]], b=[answer("b")])
    reading = asyncio.create_task(bridge.ask())
    while not bridge.scripted["a"].open_now:  # noqa: ASYNC110 - a script runs
        await asyncio.sleep(0)
    for _ in range(len(script) + 5):
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert bridge.scripted["a"].open_now == 0
    assert bridge.names() == ["a"]


async def test_a_background_response_that_goes_on_is_asked_of_its_maker_only():
    own = Target("a", "openai/a", native_background=True)
    bridge = Bridge(
        [ModelRoute("a", own, fallbacks=("b",)), ModelRoute("b", B)], a=[[UpstreamError()]]
    )
    with pytest.raises(UpstreamError):
        await bridge.ask(background=True, background_id="resp_theirs")
    assert bridge.names() == ["a"]


async def test_a_provider_that_runs_a_background_response_itself_has_answered_once_it_has_begun():
    own = Target("a", "openai/a", native_background=True)
    routes = [ModelRoute("a", own, fallbacks=("b",)), ModelRoute("b", B)]
    script = [*opening(), UpstreamError()]
    bridge = Bridge(routes, a=[script, [UpstreamError()]], b=[answer("b")])
    with pytest.raises(UpstreamError):
        await bridge.ask(background=True)
    assert bridge.outcomes() == ["a answers"]
    bridge.time += 60
    assert text_of(await bridge.ask(background=True)) == "b"
    assert [request.background for request in bridge.asked] == [True, True, False]


async def test_tokens_are_counted_without_asking_anybody():
    bridge = Bridge(a=[[UpstreamError()]])
    assert await bridge.upstream.count_tokens(bridge.request()) == 1
    assert bridge.asked == []


async def test_an_unknown_name_is_not_found():
    bridge = Bridge(a=[answer("a")])
    with pytest.raises(ModelNotFound):
        bridge.request("z")
