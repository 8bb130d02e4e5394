"""Compaction by the bridge: a long chain goes on from a summary."""

import asyncio
import re
from typing import Any

import orjson
import pytest
from defence.test_heavy import calls, check
from jobs.test_registry import House
from support.event_checker import check_events
from support.scripted_upstream import (
    Scripted,
    answer,
    call,
    completed,
    done_item,
    message,
    opening,
    tool_call,
)
from upstreams.asking import ask, name_of, target, types

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.compaction import HEADING, PROMPT
from ws_bridge.protocol.events import FAILED, Draft
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.sealing import UNSIGNED
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.compaction import CompactingUpstream, compacts_natively
from ws_bridge.upstream.litellm.token_counter import LitellmTokenCounter
from ws_bridge.upstream.litellm.upstream import LitellmUpstream

Json = dict[str, Any]

CLAUDE = Target("c", "anthropic/c")
OPENAI = Target("m", "openai/gpt-5")
THRESHOLD = 10  # the scripted upstream counts items
USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def compacting(upstream: Scripted, **more: Any) -> CompactingUpstream:
    return CompactingUpstream(upstream, upstream, **more)


def wanted(threshold: int | None = 1) -> list[Json]:
    return [{"type": "compaction", "compact_threshold": threshold}]


def user(text: str) -> Json:
    return {"type": "message", "role": "user", "content": text}


def asked(*items: Json, at: Target = CLAUDE, **options: Any) -> Request:
    """The second turn of a chain, with compaction wanted unless the options differ."""
    parent = Turn("resp_1", (user("I am Ada"),), (done_item("Hello Ada"),), at.maker)
    options = {"context_management": wanted(), **options}
    return Request(at, Chain(parent, items or (user("who am I?"),)), options)


def texts(items: list[Json]) -> list[str]:
    """The text of each message."""
    contents = [item["content"] for item in items if item["type"] == "message"]
    return [content if isinstance(content, str) else content[0]["text"] for content in contents]


def is_for_summary(request: Request) -> bool:
    return texts(request.input())[-1:] == [PROMPT]


def unseal(item: Json) -> str:
    return UNSIGNED.open(Chain(None, (item,))).summary.text


@pytest.mark.catalogue("A8")
async def test_a_chain_of_120_000_items_is_not_looked_through_on_the_loop():
    """Only what the scripted upstream does itself is; what is sent to it is made beside."""
    chain = Chain(asked().chain.parent, (user("hi"),) * 120_000)
    replies = [lambda _: answer("the gist"), lambda _: answer("yes")]
    with calls() as counted:
        upstream = compacting(Counting(*replies))
        result = await ask(Request(CLAUDE, chain, {"context_management": wanted()}), upstream)
    assert types(result.drafts)[-1] == "response.completed"
    check(counted)


class Counting(Scripted):
    """An upstream that counts without looking."""

    async def count_tokens(self, request: Request) -> int:
        return request.chain.count()


# A whole chain


def remembering(request: Request) -> list[Draft]:
    """A model that knows what it is shown: facts ("the 7 is heron7") and nothing else."""
    inputs = texts(request.input())
    facts = dict(re.findall(r"the (\d+) is (\w+)", "\n".join(inputs)))
    if is_for_summary(request):
        return answer("; ".join(f"the {number} is {word}" for number, word in facts.items()))
    if questioned := re.fullmatch(r"what is (\d+)\?", inputs[-1]):
        return answer(facts.get(questioned[1], "I do not know"))
    return answer("noted")


async def grown(house: House, turns: int, **options: Any) -> str:
    """The id of the last turn of a chain with a fact in each turn."""
    last = None
    for number in range(1, turns + 1):
        fact = f"the {number} is heron{number}"
        job = await house.done(model="c", input=fact, previous_response_id=last, **options)
        assert job.result["status"] == "completed"
        assert check_events([event.json() for event in job.stream.events]) == []
        last = job.id
    return last


async def test_a_chain_of_forty_turns_stays_under_the_threshold_and_forgets_nothing():
    upstream = Scripted(remembering)
    house = House(compacting(upstream))
    options = {"context_management": wanted(THRESHOLD)}
    last = await grown(house, 40, **options)
    answers = [one for one in upstream.requests if not is_for_summary(one)]
    summaries = [one for one in upstream.requests if is_for_summary(one)]
    assert (len(answers), len(summaries)) == (40, 7)  # the 6th turn, and each fifth after it
    assert max(len(one.input()) for one in answers) <= THRESHOLD
    assert max(len(one.input()) for one in summaries) <= THRESHOLD + 3  # a turn, and the prompt
    for number in (1, 20, 40):
        job = await house.done(model="c", input=f"what is {number}?", previous_response_id=last)
        assert job.result["output"][-1]["content"][0]["text"] == f"heron{number}"
    assert "the 1 is heron1;" in texts(upstream.requests[-1].input())[0]


async def test_without_compaction_the_same_chain_grows():
    upstream = Scripted(remembering)
    await grown(House(compacting(upstream)), 20)
    assert len(upstream.requests[-1].input()) == 39


async def test_a_response_with_a_summary_is_stored_and_reduced_like_any_other():
    house = House(compacting(Scripted(remembering)))
    first = await house.done(model="c", input="the 1 is heron")
    options = {"previous_response_id": first.id, "context_management": wanted()}
    job = await house.done(model="c", input="the 2 is crane", **options)
    record = await house.store.get(job.id, "me")
    assert record.response["output"] == job.result["output"] == job.snapshot()["output"]
    assert [item["type"] for item in job.result["output"]] == ["compaction", "message"]
    assert unseal(job.result["output"][0]) == "the 1 is heron; the 2 is crane"


async def test_a_client_with_its_own_history_may_drop_what_lies_before_the_summary():
    upstream = Scripted(remembering)
    history: list[Json] = [user("the 1 is heron"), done_item("noted"), user("the 2 is crane")]
    wish = Request(CLAUDE, Chain(None, (*history,)), {"context_management": wanted()})
    first = await ask(wish, compacting(upstream))
    for kept in (history, []):
        chain = UNSIGNED.open(Chain(None, (*kept, *first.output, user("what is 2?"))))
        second = await ask(Request(CLAUDE, chain, {}), compacting(upstream))
        assert second.text == "crane"


# What the client gets


async def test_the_summary_is_the_first_item_and_all_others_move_by_one():
    upstream = Scripted(answer("Ada."), tool_call())
    result = await ask(asked(), compacting(upstream))
    events = result.events()
    assert check_events(events) == []
    kinds = [event["type"].removeprefix("response.") for event in events[:5]]
    added = "output_item.added"
    assert kinds == ["created", "in_progress", added, "output_item.done", added]
    assert {event["output_index"] for event in events[4:-1]} == {1}
    item, second = result.output
    assert (sorted(item), unseal(item)) == (["encrypted_content", "id", "type"], "Ada.")
    assert second == call()


async def test_the_answer_is_made_from_the_summary_and_the_newest_items():
    upstream = Scripted(answer("Ada."), answer("You are Ada."))
    await ask(asked(), compacting(upstream))
    assert texts(upstream.requests[0].input()) == ["I am Ada", "Hello Ada", "who am I?", PROMPT]
    assert texts(upstream.requests[1].input()) == [HEADING + "Ada.", "who am I?"]
    assert upstream.requests[1].chain.parent is None  # a provider's memory of it holds more


async def test_the_usage_is_that_of_both_calls():
    counted = {**USAGE, "input_tokens_details": {"cached_tokens": 1}, "cost": 0.5}
    script = [*opening(), completed(done_item("x"))]
    script[-1].fields["response"]["usage"] = counted
    for ending, cost in (([*script], 1.0), ([*opening(), Draft(FAILED, {"response": {}})], 0.5)):
        result = await ask(
            asked(), compacting(Scripted([*answer("Ada.")[:-1], script[-1]], ending))
        )
        usage = result.response["usage"]
        assert usage["total_tokens"] == 5 * (cost / 0.5)
        assert usage["input_tokens_details"]["cached_tokens"] == cost / 0.5
        assert usage["output_tokens_details"]["reasoning_tokens"] == 0
        assert usage["cost"] == cost


async def test_items_that_the_provider_leaves_out_of_its_end_are_there():
    bare = [*opening(), *message("x"), completed()]
    house = House(compacting(Scripted(answer("noted"), answer("summary"), bare)))
    first = await house.done(model="c")
    options = {"previous_response_id": first.id, "context_management": wanted()}
    job = await house.done(model="c", **options)
    assert [item["type"] for item in job.result["output"]] == ["compaction", "message"]


async def test_a_providers_own_text_is_not_passed_on_where_its_numbers_are_wrong():
    script = [
        Draft(draft.type, draft.fields, orjson.dumps({"type": draft.type, **draft.fields}))
        for draft in answer("x")
    ]
    result = await ask(asked(), compacting(Scripted(answer("Ada."), script)))
    assert check_events(result.events()) == []
    assert [event["output_index"] for event in result.events() if "output_index" in event][2:] == (
        [1] * 6
    )


# When, and when not


@pytest.mark.parametrize(
    "request_",
    [
        asked(context_management=wanted(3)),
        asked(context_management=wanted(None)),
        asked(context_management=[]),
        Request(CLAUDE, Chain(None, (user("a"),) * 5), {"context_management": wanted()}),
    ],
    ids=["as many as allowed", "the default", "none", "nothing older"],
)
async def test_what_need_not_be_compacted_is_asked_as_it_is_without_the_option(request_):
    upstream = Scripted(answer("x"))
    result = await ask(request_, compacting(upstream))
    (sent,) = upstream.requests
    assert (sent.chain, sent.options) == (request_.chain, {})
    assert result.drafts == answer("x")


@pytest.mark.parametrize("is_background", [False, True])
async def test_a_provider_that_compacts_by_itself_is_asked_as_the_client_asked(is_background):
    upstream = Scripted(answer("x"))
    wish = asked(at=CLAUDE if is_background else OPENAI)
    wish = Request(wish.target, wish.chain, wish.options, background=is_background)
    await ask(wish, compacting(upstream))
    assert upstream.requests == [wish]
    assert upstream.requests[0] is wish


@pytest.mark.parametrize(
    ("model", "api_base", "expected"),
    [
        ("openai/gpt-5", "", True),
        ("openai/gpt-5", "https://api.openai.com/v1", True),
        ("openai/gpt-5", "https://eu.api.openai.com/v1", True),
        ("openai/gpt-5", "https://api.openai.com.example.org/v1", False),
        ("openai/local", "http://127.0.0.1:8000/v1", False),
        ("openai/chat_completions/gpt-5", "", False),
        ("azure/gpt-5", "https://x.openai.azure.com", False),
        ("anthropic/claude", "", False),
        ("xai/grok-4", "", False),
    ],
)
def test_only_openai_compacts_by_itself(model, api_base, expected):
    assert compacts_natively(Target("m", model, api_base=api_base)) is expected


async def test_the_summary_is_asked_for_as_text_of_any_length_and_leaves_no_trace():
    upstream = Scripted(answer("Ada."), answer("x"))
    options = {"instructions": "be kind", "max_output_tokens": 5, "tools": [{"type": "x"}]}
    wish = asked(**options)
    wish = Request(wish.target, wish.chain, wish.options, response_id="resp_2", store=True)
    await ask(wish, compacting(upstream))
    summary, sent = upstream.requests
    assert (summary.options, summary.response_id, summary.store) == (
        {"instructions": "be kind"},
        "",
        False,
    )
    assert (sent.options, sent.response_id, sent.store) == (options, "resp_2", True)


# Calls


async def test_no_call_is_parted_from_its_output():
    first = Turn("resp_1", (user("go"),), (call(call_id="call_1"),), CLAUDE.maker)
    done = ({"type": "function_call_output", "call_id": "call_1", "output": "1"},)
    calls = (call(call_id="call_2"), call(call_id="call_3"))
    second = Turn("resp_2", done, (done_item("next"), *calls), CLAUDE.maker, first)
    outputs = [
        {"type": "function_call_output", "call_id": name, "output": "2"}
        for name in ("call_3", "call_2")
    ]
    upstream = Scripted(answer("One is done."), tool_call(call_id="call_4"))
    options = {"context_management": wanted()}
    wish = Request(CLAUDE, Chain(second, (*outputs,)), options)
    result = await ask(wish, compacting(upstream))
    sent = upstream.requests[1].input()
    assert texts(sent) == [HEADING + "One is done.", "next"]
    assert sent[2:] == [*calls, *outputs]
    third = Turn("resp_3", (*outputs,), result.output, CLAUDE.maker, second)
    last = {"type": "function_call_output", "call_id": "call_4", "output": "3"}
    later = UNSIGNED.open(Chain(third, (last,)))
    later.check_calls()
    assert later.items_for(CLAUDE.maker) == [*sent, call(call_id="call_4"), last]


# Failures


TOO_LONG = UpstreamError("Too long.", status=400, code="context_length_exceeded")


@pytest.mark.parametrize("failing", [[UpstreamError()], [TOO_LONG], opening(), answer("")])
async def test_if_no_summary_can_be_had_the_answer_is_made_from_all_there_is(failing, caplog):
    caplog.set_level("INFO")
    upstream = Scripted(failing, answer("You are Ada."))
    result = await ask(asked(), compacting(upstream))
    assert result.drafts == answer("You are Ada.")
    assert texts(upstream.requests[1].input()) == ["I am Ada", "Hello Ada", "who am I?"]
    assert upstream.requests[1].options == {}
    assert [record.message.partition(" code")[0] for record in caplog.records] == [
        "compaction_failed model=anthropic/c"
    ]


async def test_a_chain_too_long_for_its_summary_too_is_refused_as_the_provider_refuses_it():
    result = await ask(asked(), compacting(Scripted([TOO_LONG])))
    assert (result.drafts, result.error) == ([], TOO_LONG)


async def test_tokens_that_cannot_be_counted_are_no_reason_to_refuse():
    class Uncountable(Scripted):
        async def count_tokens(self, _request: Request) -> int:
            raise UpstreamError

    upstream = Uncountable(answer("x"))
    result = await ask(asked(), compacting(upstream))
    assert (result.drafts, len(upstream.requests)) == (answer("x"), 1)


async def test_nothing_is_seen_of_a_summary_before_the_provider_answers():
    """Another target can then be asked as if this one had not been."""
    result = await ask(asked(), compacting(Scripted(answer("Ada."), [UpstreamError()])))
    assert (result.drafts, result.error.status) == ([], 502)
    failed = [*opening(), Draft(FAILED, {"response": {"output": [], "usage": USAGE}})]
    result = await ask(asked(), compacting(Scripted(answer("Ada."), failed)))
    assert types(result.drafts) == types(failed)


async def test_the_summary_and_the_answer_share_one_life():
    time = [0.0]

    def slow(_request: Request) -> list[Draft]:
        time[0] += 20
        return answer("Ada.")

    upstream = Scripted(slow, answer("x"))
    clock = Clock(monotonic=lambda: time[0])
    await ask(
        asked(at=Target("c", "anthropic/c", timeout_seconds=100)),
        compacting(upstream, clock=clock),
    )
    assert [one.target.timeout_seconds for one in upstream.requests] == [50, 80]


@pytest.mark.parametrize("before", [[], [answer("Ada.")]], ids=["summary", "answer"])
async def test_an_open_that_is_cancelled_closes_the_summary_as_well_as_the_answer(before):
    is_asked = asyncio.Event()

    def endless(_request: Request) -> list[asyncio.Event]:
        is_asked.set()
        return [asyncio.Event()]

    upstream = Scripted(*before, endless)
    opening_ = asyncio.create_task(compacting(upstream).open(asked()))
    await is_asked.wait()
    assert upstream.open_now == 1
    opening_.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening_
    assert (upstream.open_now, upstream.closed) == (0, 1)


async def test_its_answer_is_that_of_the_upstream_with_the_summary_as_its_preface():
    upstream = Scripted(answer("Ada."), answer("x"))
    result = await compacting(upstream).open(asked())
    assert result is upstream.answers[1]
    assert result.preface.usage["total_tokens"] == 5
    assert [unseal(item) for item in result.preface.items] == ["Ada."]
    assert upstream.open_now == 1
    await result.close()
    assert (upstream.open_now, upstream.closed) == (0, 1)


# Real providers


@pytest.mark.parametrize("family", ["native", "vllm", "chat", "anthropic"])
async def test_every_family_answers_from_the_summary(fake, family):
    at = target(fake, family, "text")
    upstream = CompactingUpstream(LitellmUpstream(), LitellmTokenCounter())
    result = await ask(asked(at=at), upstream)
    assert result.error is None
    assert check_events(result.events()) == []
    assert [item["type"] for item in result.output] == ["compaction", "message"]
    summarised, answered = fake.requests(name_of(at))
    assert "context_management" not in {**summarised, **answered}
    bodies = [orjson.dumps(body).decode() for body in (summarised, answered)]
    assert [PROMPT in body for body in bodies] == [True, False]
    assert [orjson.dumps("Hello Ada").decode() in body for body in bodies] == [True, False]
    assert unseal(result.output[0]) in bodies[1]
