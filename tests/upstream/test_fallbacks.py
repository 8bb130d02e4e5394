"""One target after the other until one answers; of a failed try nothing is seen."""

import asyncio

import pytest
from support.answers import drafts_of
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.clock import Clock
from ws_bridge.errors import ModelNotFound, UpstreamError
from ws_bridge.protocol.events import COMPLETED, CREATED, FAILED, IN_PROGRESS, QUEUED, Draft
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.upstream.base import ABANDONED, COMPLETE, Outcome, Request, Target, Tried
from ws_bridge.upstream.fallbacks import Fallbacks
from ws_bridge.upstream.model_table import ModelRoute, ModelTable
from ws_bridge.upstream.sealed_items import SealedItems

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
        self.tried = ()
        chain = [ModelRoute("a", A, fallbacks=("b", "c")), ModelRoute("b", B), ModelRoute("c", C)]
        self.routes = ModelTable(routes or chain)
        clock = Clock(monotonic=lambda: self.time)
        self.sealed_items = SealedItems()
        self.upstream = Fallbacks(self, self.routes.candidates, self.sealed_items, clock)

    async def open(self, request):
        self.asked.append(request)
        return await self.scripted[name_of(request)].open(request)

    def request(self, name="a", chain=Chain(None, (HELLO,)), **more):  # noqa: B008 - frozen
        return Request(self.routes.find(name), chain, {}, **more)

    async def open_answer(self, name="a", **more):
        """The answer; ``tried`` has all that were asked for it."""
        try:
            answer = await self.upstream.open(self.request(name, **more))
        except UpstreamError as error:
            self.tried = error.tried
            raise
        self.tried = answer.tried
        return answer

    async def ask(self, name="a", **more):
        return await drafts_of(await self.open_answer(name, **more))

    def running(self):
        """The requests that each model runs."""
        states = self.upstream._health._states.items()
        return {model: state.running for (_, model), state in states if state.running}

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
async def test_what_may_pass_elsewhere_is_asked_of_the_next(status):
    bridge = Bridge(a=[[UpstreamError(status=status)]], b=[answer("from b")])
    drafts = await bridge.ask()
    assert text_of(drafts) == "from b"
    assert bridge.outcomes() == [f"a {status}", "b answers"]


@pytest.mark.parametrize("status", NEVER)
async def test_what_has_to_be_mended_is_raised_at_once_and_starts_no_cooldown(status):
    bridge = Bridge(a=[[UpstreamError(status=status)], answer("a")], b=[answer("b")])
    with pytest.raises(UpstreamError) as raised:
        await bridge.ask()
    assert raised.value.status == status
    assert bridge.outcomes() == [f"a {status}"]
    assert text_of(await bridge.ask()) == "a"


async def test_when_all_fail_the_last_ones_error_is_raised_and_each_was_asked_once():
    bridge = Bridge(
        a=[[UpstreamError(status=500)]],
        b=[[UpstreamError(status=429)]],
        c=[[UpstreamError("its words", status=503)]],
    )
    with pytest.raises(UpstreamError) as raised:
        await bridge.ask()
    assert (raised.value.status, raised.value.message) == (503, "its words")
    assert bridge.names() == ["a", "b", "c"]
    assert raised.value.tried == (Tried(A, "500"), Tried(B, "429"), Tried(C, "503"))


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


async def test_a_failed_response_that_blames_the_request_is_the_answer():
    bridge = Bridge(a=[[*opening(), failed("invalid_prompt")]], b=[answer("b")])
    assert (await bridge.ask())[-1].type == FAILED
    assert bridge.outcomes() == ["a answers"]


@pytest.mark.parametrize("cut", range(1, len(message("x"))))
async def test_after_the_first_output_no_other_is_asked_but_the_broken_one_cools_down(cut):
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
        answer = await bridge.open_answer(name)
        assert [draft.type for draft in answer.first] == [CREATED]
        await answer.close()


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
        async def open(self, request):
            self.time += 400
            return await super().open(request)

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


async def test_sealed_reasoning_reaches_its_maker_only():
    made = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AAA"}
    done = Draft("response.output_item.done", {"output_index": 0, "item": made})
    first = [*opening(), done, completed(made)]
    bridge = Bridge(a=[first, [UpstreamError()]], b=[answer("b")])
    await bridge.ask()
    bridge.sealed_items.record(done, A.maker)  # as it was published
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


async def test_nothing_stands_between_its_answer_and_the_reader():
    bridge = Bridge(a=[[UpstreamError()]], b=[answer("b")])
    opened = await bridge.open_answer()
    assert opened is bridge.scripted["b"].answers[0]
    assert opened.target == B  # as the table has it, whatever is left of its life
    await opened.close()


SETTLED = [*opening(), *message("x")[:1]]


@pytest.mark.parametrize("batches", [[[draft] for draft in SETTLED], [SETTLED]], ids=["3", "1"])
async def test_what_settles_who_answers_is_the_end_of_its_first_drafts(batches):
    bridge = Bridge(a=[[*batches, asyncio.Event()]], b=[answer("b")])
    opened = await bridge.open_answer()
    assert opened.first == SETTLED
    await opened.close()


OUTCOMES = {
    "complete": (COMPLETE, "a"),
    "abandoned": (ABANDONED, "a"),
    "refused": (Outcome(UpstreamError(status=400)), "a"),
    "failed": (Outcome(UpstreamError(status=500)), "b"),
}


@pytest.mark.parametrize("how", OUTCOMES)
async def test_its_load_is_released_once_and_its_outcome_is_noted(how):
    outcome, then = OUTCOMES[how]
    bridge = Bridge(a=[[*SETTLED, asyncio.Event()]], b=[answer("b")])
    opened = await bridge.open_answer()
    assert bridge.running() == {"openai/a": 1}
    for _ in range(3):
        await opened.close(outcome)
    assert bridge.running() == {}
    other = await bridge.open_answer()
    assert other.target.name == then
    await other.close()
    assert bridge.running() == {}


async def test_what_fails_leaves_no_load():
    failing = [[UpstreamError(status=500)], [*opening(), UpstreamError()], [failed("server_error")]]
    bridge = Bridge(**{name: [script] for name, script in zip("abc", failing, strict=True)})
    assert (await bridge.ask())[-1].type == FAILED  # the last one's is the answer
    assert bridge.outcomes() == ["a 500", "b 502", "c answers"]
    assert bridge.running() == {}


@pytest.mark.parametrize("script", [[], [*opening()], [*opening(), *message("x")]])
async def test_a_cancelled_caller_leaves_nothing_open_and_no_load(script):
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
    assert bridge.running() == {}


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
    opened = await bridge.open_answer(background=True)
    assert [draft.type for draft in opened.first] == [CREATED]
    with pytest.raises(UpstreamError):
        await drafts_of(opened)
    assert bridge.outcomes() == ["a answers"]
    bridge.time += 60
    assert text_of(await bridge.ask(background=True)) == "b"
    assert [request.background for request in bridge.asked] == [True, True, False]


async def test_an_unknown_name_is_not_found():
    bridge = Bridge(a=[answer("a")])
    with pytest.raises(ModelNotFound):
        bridge.request("z")


async def test_a_create_whose_model_has_gone_meanwhile_is_asked_as_it_began():
    bridge = Bridge(a=[answer("a")])
    request = bridge.request()
    bridge.routes.replace([ModelRoute("b", B)])
    assert text_of(await drafts_of(await bridge.upstream.open(request))) == "a"


async def test_forgotten_failures_end_a_cooldown():
    bridge = Bridge(a=[[UpstreamError()], answer("a")], b=[answer("b")])
    assert text_of(await bridge.ask()) == "b"
    bridge.upstream.forget_failures()
    assert text_of(await bridge.ask()) == "a"
