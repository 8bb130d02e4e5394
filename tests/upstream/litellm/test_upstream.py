"""Managed: every family of providers, through the real litellm, against a loopback server."""

import asyncio
import json
from dataclasses import replace

import pytest
from support.answers import opened
from support.event_checker import check_events
from support.fake_clock import let_others_run
from support.turned_loop import silence
from upstreams.asking import (
    HELLO,
    KEY,
    Pauses,
    ask,
    name_of,
    request,
    take,
    target,
)
from upstreams.responses import ResponsesScript

from ws_bridge.clock import Clock
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.references import response_of
from ws_bridge.protocol.request import parse_create
from ws_bridge.protocol.sealing import UNSIGNED
from ws_bridge.upstream.base import COMPLETE, Target
from ws_bridge.upstream.litellm.upstream import LitellmUpstream
from ws_bridge.upstream.retry import MAX_RETRY_WAIT

THREE = ("native", "chat", "anthropic")
SCENARIOS = {
    "chat": """
        text tools textools rtools reasoning interleavereasoning bothreasoning oneshottool
        noargtool noidtool empty length cfilter logprobs annot images nofinish emptychoices
        nousage rep150""",
    "sdk": "text textools reasoning noidtool images",
    "anthropic": """
        text thinking tool thinking-texttool redacted-thinking noarg thinking-interleave maxtok
        refusal cite""",
    "gemini": "x think tool safety",
    "ollama": "text think tool",
    "native": """
        text reasoning rawreasoning tools rtools refusal annot logprobs phase image custom x-ci mcp
        incomplete incompletecf queued""",
    "vllm": "text tools",
}
ALL = [(family, name) for family, names in SCENARIOS.items() for name in names.split()]

SILENCE = 100.0  # of a provider, at most


@pytest.mark.parametrize(("family", "scenario"), ALL, ids=str)
async def test_every_scenario_is_a_strict_stream(fake, family, scenario):
    answer = await ask(request(target(fake, family, scenario)))
    assert answer.error is None
    assert check_events(answer.events()) == []


@pytest.mark.parametrize("family", ["chat", "anthropic", "ollama"])
async def test_an_item_is_named_after_its_response(fake, family):
    asked = replace(request(target(fake, family, "text")), response_id="resp_" + "a" * 48)
    output = (await ask(asked)).response["output"]
    assert [response_of(item["id"]) for item in output] == [asked.response_id]


@pytest.mark.parametrize("family", THREE)
async def test_the_answer_arrives_whole(fake, family):
    answer = await ask(request(target(fake, family, "text")))
    assert answer.text in ("Hello, world!", "Hello, world! This is a test.", "Hello from Claude!")
    assert answer.response["usage"]["input_tokens"] > 0
    assert answer.response["usage"]["total_tokens"] > answer.response["usage"]["input_tokens"]


# Failures

# scenario: status, code, requests made with two retries allowed
FAILURES = {
    "err400": (400, "unsupported_parameter", 1),
    "err400ctx": (400, "context_length_exceeded", 1),
    "err401": (401, "invalid_api_key", 1),
    "err403": (403, "forbidden", 1),
    "err404": (404, "model_not_found", 1),
    "err408": (504, "upstream_timeout", 3),
    "err409": (409, "invalid_request_error", 3),
    "err422": (422, "invalid_request_error", 1),
    "err429": (429, "rate_limit_exceeded", 3),
    "err429quota": (429, "insufficient_quota", 1),
    "err429long": (429, "rate_limit_exceeded", 1),
    "err500": (500, "server_error", 3),
    "err500html": (500, "server_error", 3),
    "err503": (503, "server_error", 3),
    "pre1drop": (502, "server_error", 3),
    "zerobytes": (502, "server_error", 3),
}
ENDED = "The provider ended the stream before the response was finished."
LATER = {"drop": None, "cleaneof": ENDED}  # the message, where all families have the same


def assert_clean(error, fake):
    """The message holds nothing of the bridge's inside, or of the operator's."""
    shown = json.dumps(error.frame()) + json.dumps(error.response_error())
    port = fake.base_url.rpartition(":")[2]
    for secret in ("litellm", "Traceback", KEY, "sk-", port, "127.0.0.1", ".py", "Exception", "<"):
        assert secret not in shown
    assert "/" not in error.message
    assert 0 < len(error.message) <= 500


@pytest.mark.catalogue("U2")
@pytest.mark.parametrize("family", [*THREE, "sdk"])
@pytest.mark.parametrize("scenario", FAILURES)
async def test_a_refusal_is_one_clean_error_and_is_retried_where_that_may_help(
    fake, family, scenario
):
    status, code, requests = FAILURES[scenario]
    asked = target(fake, family, scenario, retries=2)
    pauses = Pauses()
    answer = await ask(request(asked), LitellmUpstream(clock=pauses.clock))
    assert answer.drafts == []
    assert (answer.error.status, len(fake.requests(name_of(asked)))) == (status, requests)
    assert len(pauses.taken) == requests - 1
    assert family == "sdk" or answer.error.code == code  # that library keeps the code to itself
    assert_clean(answer.error, fake)


@pytest.mark.catalogue("U5")
@pytest.mark.parametrize("family", THREE)
@pytest.mark.parametrize("scenario", LATER)
async def test_a_stream_that_breaks_off_is_an_error_and_is_not_asked_for_again(
    fake, family, scenario
):
    asked = target(fake, family, scenario, retries=2)
    answer = await ask(request(asked), LitellmUpstream(clock=Pauses().clock))
    assert answer.drafts
    assert not any(draft.type == "response.completed" for draft in answer.drafts)
    assert (answer.error.status, answer.error.code) == (502, "server_error")
    assert LATER[scenario] in (None, answer.error.message)
    assert len(fake.requests(name_of(asked))) == 1
    assert_clean(answer.error, fake)


@pytest.mark.parametrize("family", [*THREE, "sdk", "gemini"])
async def test_a_provider_that_is_not_there_is_unreachable(fake, family):
    asked = target(fake, family, "text", api_base="http://127.0.0.1:1")
    answer = await ask(request(asked))
    assert (answer.error.status, answer.drafts) == (502, [])
    assert answer.error.message == "The model provider could not be reached."


@pytest.mark.parametrize("family", [*THREE, "sdk"])
async def test_an_unreadable_line_fails_a_stream(fake, family):
    answer = await ask(request(target(fake, family, "badline")))
    assert not any(draft.type == "response.completed" for draft in answer.drafts)
    assert answer.error.status == 502
    assert_clean(answer.error, fake)


@pytest.mark.parametrize(
    ("scenario", "status", "code", "message"),
    [
        ("failed", 500, "server_error", "boom upstream"),
        ("failed400", 400, "invalid_prompt", "bad prompt"),
        ("failedearly", 429, "rate_limit_exceeded", "slow down"),
        ("errnested", 400, "invalid_prompt", "nested bad"),
        ("errevent", 500, "server_error", "The server had an error"),
        ("cancelled", 502, "server_error", "The model provider cancelled the response."),
    ],
)
async def test_a_native_failure_keeps_the_providers_code_and_message(
    fake, scenario, status, code, message
):
    error = (await ask(request(target(fake, "native", scenario)))).error
    assert (error.status, error.code, error.message) == (status, code, message)


async def test_a_native_answer_that_is_no_stream_is_replayed(fake):
    whole = await ask(request(target(fake, "native", "jsonstream")))
    assert check_events(whole.events()) == []
    assert whole.text == "Hello, world! This is a test."


async def test_a_native_event_without_a_type_fails_the_response(fake):
    """Some releases of litellm fail by themselves, in other words."""
    answer = await ask(request(target(fake, "native", "nontype")))
    assert [draft.type for draft in answer.drafts][:2] == [
        "response.created",
        "response.in_progress",
    ]
    assert (answer.error.status, answer.error.code) == (502, "server_error")
    assert answer.error.message in (
        "The model provider sent an event without a type.",
        "The model provider failed.",
    )


@pytest.mark.parametrize(
    ("family", "scenario", "message"),
    [("chat", "midmsgerr", "engine crashed"), ("anthropic", "miderr", "Overloaded")],
)
async def test_an_error_in_the_middle_of_a_chat_stream_is_raised(fake, family, scenario, message):
    answer = await ask(request(target(fake, family, scenario)))
    assert answer.drafts[-1].type == "response.output_text.delta"
    assert (answer.error.status, answer.error.message) == (500, message)


# Retries


@pytest.mark.parametrize("family", [*THREE, "sdk"])
async def test_a_provider_that_recovers_is_asked_again_after_growing_pauses(fake, family):
    asked = target(fake, family, "flaky2-text", retries=2)
    pauses = Pauses()
    answer = await ask(request(asked), LitellmUpstream(clock=pauses.clock, jitter=lambda: 0.5))
    assert answer.error is None
    assert pauses.taken == [0.25, 0.5]
    assert len(fake.requests(name_of(asked))) == 3


@pytest.mark.catalogue("U2")
async def test_the_pause_a_provider_asks_for_is_kept(fake):
    pauses = Pauses()
    asked = target(fake, "native", "err429", retries=1)
    answer = await ask(request(asked), LitellmUpstream(clock=pauses.clock))
    assert (pauses.taken, answer.error.retry_after) == ([7.0], 7.0)
    assert pauses.taken[0] <= MAX_RETRY_WAIT


async def test_no_pause_is_longer_than_the_life_of_the_response(fake):
    pauses = Pauses()
    asked = target(fake, "native", "err429", retries=1, timeout_seconds=5)
    answer = await ask(request(asked), LitellmUpstream(clock=pauses.clock))
    assert (answer.error.status, pauses.taken) == (429, [])


# Time


@pytest.mark.catalogue("U3", "U12")
@pytest.mark.parametrize("family", THREE)
@pytest.mark.parametrize("scenario", ["hang", "stall", "gate1", "keepalive"])
async def test_silence_ends_the_response_comments_are_silence_too(fake, family, scenario):
    asked = target(fake, family, scenario, stall_seconds=SILENCE, retries=2)
    asking = asyncio.create_task(ask(request(asked), LitellmUpstream(clock=Pauses().clock)))
    await silence(fake, name_of(asked), SILENCE)
    answer = await asking
    assert (answer.error.status, answer.error.code) == (504, "upstream_timeout")
    assert answer.error.message == "The model provider stopped sending data."
    assert len(fake.requests(name_of(asked))) == 1
    await fake.wait_closed(closed_early=1)


@pytest.mark.parametrize("family", THREE)
async def test_a_response_has_a_longest_life(fake, family):
    asked = target(fake, family, "stall", timeout_seconds=SILENCE)
    asking = asyncio.create_task(ask(request(asked)))
    await silence(fake, name_of(asked), SILENCE)
    answer = await asking
    assert answer.error.status == 504
    assert answer.error.message == "The model provider did not answer in time."
    await fake.wait_closed(closed_early=1)


async def test_a_slow_reader_is_no_silence_of_the_provider(fake):
    asked = target(fake, "native", "gate6", stall_seconds=SILENCE)
    fake.release(name_of(asked))
    read = []
    async for draft in opened(LitellmUpstream(), request(asked)):
        if not read:
            await fake.wait_closed()  # it has sent all: only the reader is slow
            await let_others_run()
            asyncio.get_running_loop().turn(2 * SILENCE)
            await let_others_run()
        read.append(draft)
    assert read[-1].type == "response.completed"


# Closing


@pytest.mark.parametrize("family", [*THREE, "sdk", "gemini"])
@pytest.mark.parametrize("scenario", ["hang", "gate1", "gate3"])
async def test_cancelling_the_reader_closes_the_providers_connection(fake, family, scenario):
    asked = target(fake, family, scenario)
    reading = asyncio.create_task(ask(request(asked)))
    await fake.reached(name_of(asked))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await fake.wait_closed(closed_early=1)


@pytest.mark.parametrize("family", [*THREE, "sdk"])
async def test_closing_an_answer_mid_stream_closes_the_providers_connection(fake, family):
    asked = target(fake, family, "stall")
    answer = await LitellmUpstream().open(request(asked))
    await answer.close()
    await answer.close()
    await fake.wait_closed(closed_early=1)


@pytest.mark.parametrize("family", [*THREE, "sdk"])
async def test_a_complete_answers_connection_is_used_again(fake, family):
    for _ in range(2):
        assert (await ask(request(target(fake, family, "text")))).error is None
    assert fake.live["closed_early"] == 0
    ports = {entry["port"] for entry in fake.log}
    assert len(ports) == 1


@pytest.mark.parametrize("family", THREE)
async def test_after_the_end_there_is_nothing_to_read(fake, family):
    answer = await LitellmUpstream().open(request(target(fake, family, "text")))
    drafts = [*answer.first]
    while drafts[-1].type != "response.completed":
        drafts += await answer.read()
    assert [await answer.read(), await answer.read()] == [None, None]
    for _ in range(2):
        await answer.close(COMPLETE)


@pytest.mark.parametrize("family", [*THREE, "sdk"])
async def test_of_an_open_that_is_cancelled_between_attempts_nothing_is_left(fake, family):
    asked = target(fake, family, "err500", retries=2)
    pauses, hands = asyncio.Event(), asyncio.Event()

    async def sleep(_seconds):
        pauses.set()
        await hands.wait()

    opening = asyncio.create_task(LitellmUpstream(clock=Clock(sleep=sleep)).open(request(asked)))
    await pauses.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert len(fake.requests(name_of(asked))) == 1
    assert fake.live["open"] == 0


# Streaming


@pytest.mark.parametrize("family", ["native", "vllm", "chat", "anthropic"])
async def test_an_unknown_model_is_really_streamed(fake, family):
    asked = target(fake, family, "gate6-unknown-model")
    drafts = opened(LitellmUpstream(), request(asked))
    read = await take(drafts, "output_text.delta")
    assert "response.created" in read
    assert fake.live["finished"] == 0  # the provider still waits at the gate
    fake.release(name_of(asked))
    rest = await take(drafts, "response.completed")
    assert rest[-1] == "response.completed"
    assert [body["stream"] for body in fake.requests(name_of(asked))] == [True]
    await drafts.aclose()


async def test_a_model_that_cannot_stream_is_replayed(fake):
    asked = target(fake, "native", "text")
    asked = type(asked)(name="o1-pro", model="openai/o1-pro", api_base=asked.api_base, api_key=KEY)
    answer = await ask(request(asked))
    assert "stream" not in fake.requests("o1-pro")[0]
    assert check_events(answer.events()) == []
    assert answer.text == "Hello, world! This is a test."


# Native fidelity


@pytest.mark.parametrize("scenario", SCENARIOS["native"].split())
async def test_a_native_event_is_yielded_as_it_was_sent(fake, scenario):
    expected = []
    for event in ResponsesScript(f"gpt-{scenario}").events():
        fields = {k: v for k, v in event.items() if k != "sequence_number"}
        expected.append(fields)
    answer = await ask(request(target(fake, "native", scenario)))
    sent = [{"type": draft.type, **draft.fields} for draft in answer.drafts]
    for event in (*sent, *expected):
        if "response" in event:
            event["response"] = {**event["response"], "id": "any"}  # litellm's, until numbered
    assert sent == expected


async def test_an_unknown_native_event_waits_for_its_item_and_is_as_it_was_sent(fake):
    answer = await ask(request(target(fake, "native", "unknownev")))
    [at] = [n for n, draft in enumerate(answer.drafts) if "brand_new" in draft.type]
    assert answer.drafts[at - 1].type == "response.output_item.added"
    assert answer.drafts[at].fields["new_field"] == {"a": None, "b": [1]}


async def test_no_cost_of_litellms_is_in_an_answer(fake):
    asked = replace(target(fake, "native", "text", report_cost=True), model="openai/gpt-4o")
    assert "cost" not in (await ask(request(asked))).response["usage"]


# What is sent


async def test_what_a_client_may_not_set_reaches_no_provider(fake):
    body = {
        "model": "m",
        "input": "hi",
        "api_base": "http://evil.example",
        "api_key": "sk-evil",
        "base_url": "http://evil.example",
        "extra_headers": {"authorization": "Bearer sk-evil"},
        "extra_body": {"model": "other", "stream": False},
        "headers": {"x-evil": "1"},
        "mock_response": "mocked",
        "fallbacks": ["other"],
        "custom_llm_provider": "anthropic",
        "use_chat_completions_api": True,
        "model_info": {"id": "x"},
        "litellm_metadata": {"x": "y"},
        "num_retries": 5,
        "stream_id": "a",
        "generate": True,
        "client_metadata": {"a": "b"},
    }
    options = parse_create(body).passed_on()
    for family in THREE:
        asked = target(fake, family, "text-keys")
        answer = await ask(request(asked, **options))
        assert answer.error is None
        [entry] = [entry for entry in fake.log if entry["body"]["model"] == name_of(asked)]
        logged = json.dumps(entry).lower()
        assert "evil" not in logged
        assert not {"fallbacks", "stream_id", "generate", "extra_body"} & entry["body"].keys()
        assert not any(name.startswith("_") for name in entry["body"])
        assert KEY in logged


@pytest.mark.parametrize("family", [*THREE, "sdk"])
async def test_the_environments_keys_and_addresses_are_not_used(fake, family, monkeypatch):
    for name in ("OPENAI", "GROQ", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-of-the-environment")
        monkeypatch.setenv(f"{name}_BASE_URL", "http://127.0.0.1:1")
        monkeypatch.setenv(f"{name}_API_BASE", "http://127.0.0.1:1")
    answer = await ask(request(target(fake, family, "text", api_key="")))
    assert answer.error is None
    assert "of-the-environment" not in json.dumps(fake.log)


async def test_a_native_provider_stores_nothing_and_gets_its_own_items_as_they_were(fake):
    asked = target(fake, "native", "echo")
    first = (await ask(request(target(fake, "native", "rtools")))).output
    assert [item["type"] for item in first] == ["reasoning", "function_call", "function_call"]
    turn = Turn("resp_1", (HELLO,), first, asked.maker)
    outputs = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "ok"}
        for item in first[1:]
    ]
    echo = json.loads((await ask(request(asked, *outputs, parent=turn))).text)
    body = fake.requests("gpt-echo")[0]
    assert (body["store"], "previous_response_id" in body) == (False, False)
    assert echo[1:] == [*first, *outputs]


async def test_reasoning_reaches_its_own_maker_only(fake):
    first = (await ask(request(target(fake, "anthropic", "thinking")))).output
    turn = Turn("resp_1", (HELLO,), first, "anthropic|elsewhere")
    for family in ("native", "chat"):
        echo = (await ask(request(target(fake, family, "echo"), HELLO, parent=turn))).text
        assert "EqQBsig" not in echo
        assert "Let me think" not in echo
        assert "Hello from Claude!" in echo


async def test_signed_thinking_goes_back_to_its_maker_before_the_call_it_led_to(fake):
    asked = target(fake, "anthropic", "echo")
    first = (await ask(request(target(fake, "anthropic", "thinking-texttool")))).output
    turn = Turn("resp_1", (HELLO,), first, asked.maker)
    calls = [item["call_id"] for item in first if item["type"] == "function_call"]
    outputs = [{"type": "function_call_output", "call_id": c, "output": "ok"} for c in calls]
    echo = json.loads((await ask(request(asked, *outputs, parent=turn))).text)
    blocks = echo["messages"][1]["content"]
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use", "tool_use"]
    assert blocks[0]["signature"] == "EqQBsig=="


@pytest.mark.parametrize("family", THREE)
@pytest.mark.parametrize("scenario", ["annot", "image", "custom", "x-ci", "mcp", "rtools", "phase"])
async def test_every_providers_items_can_be_sent_to_every_other(fake, family, scenario):
    made = (await ask(request(target(fake, "native", scenario)))).output
    turn = Turn("resp_1", (HELLO,), made, "openai|elsewhere")
    calls = [item for item in made if item["type"] in ("function_call", "custom_tool_call")]
    outputs = [
        {"type": call["type"] + "_output", "call_id": call["call_id"], "output": "ok"}
        for call in calls
    ]
    answer = await ask(request(target(fake, family, "echo"), *outputs, HELLO, parent=turn))
    assert answer.error is None
    assert all(call["call_id"] in answer.text for call in calls)
    assert "gAAAAenc" not in answer.text


@pytest.mark.parametrize("family", THREE)
async def test_a_tool_loop_goes_round(fake, family):
    asked = target(fake, family, "toolloop")
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
    first = await ask(request(asked, tools=[tool]))
    [call] = first.output
    assert (call["type"], json.loads(call["arguments"])["city"]) == ("function_call", "Paris")
    turn = Turn("resp_1", (HELLO,), first.output, asked.maker)
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    second = await ask(request(asked, output, parent=turn, tools=[tool]))
    assert second.text == "The weather: sunny"


@pytest.mark.parametrize("family", THREE)
async def test_a_refusal_stays_in_the_history_and_a_sealed_summary_is_read(fake, family):
    refused = {"type": "refusal", "refusal": "I cannot help"}
    refusal = {"type": "message", "role": "assistant", "content": [refused]}
    sealed = UNSIGNED.seal("They talked of tea.")
    asked = request(target(fake, family, "echo"), sealed, HELLO, refusal, HELLO)
    echo = (await ask(replace(asked, chain=UNSIGNED.open(asked.chain)))).text
    assert "They talked of tea." in echo
    assert "I cannot help" in echo
    assert "wsb1." not in echo


@pytest.mark.parametrize(
    ("options", "asked_for"),
    [
        ({}, None),
        ({"reasoning": {"effort": "low"}}, ["reasoning.encrypted_content"]),
        ({"include": ["file_search_call.results"]}, ["file_search_call.results"]),
    ],
)
async def test_reasoning_is_asked_for_where_the_request_has_it(fake, options, asked_for):
    asked = target(fake, "native", "text-include")
    assert (await ask(request(asked, **options))).error is None
    assert fake.requests("gpt-text-include")[0].get("include") == asked_for


@pytest.mark.parametrize("family", ["chat", "sdk", "anthropic"])
async def test_openais_own_hints_do_not_break_other_dialects(fake, family):
    hints = {
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "max_tool_calls": 3,
        "metadata": {"a": "b"},
        "truncation": "auto",
        "service_tier": "auto",
    }
    asked = target(fake, family, "text-hints")
    assert (await ask(request(asked, **hints))).error is None
    assert not hints.keys() & fake.requests(name_of(asked))[0].keys()


@pytest.mark.parametrize("family", ["chat", "anthropic"])
async def test_what_litellm_would_run_or_fetch_by_itself_is_refused(fake, family, caplog):
    tool = {"type": "file_search", "vector_store_ids": ["vs_1"]}
    with caplog.at_level("INFO"):
        answer = await ask(request(target(fake, family, "text"), tools=[tool]))
    assert (answer.error.status, answer.error.param) == (400, "tools[0]")
    assert fake.log == []
    assert "provider_failed" not in caplog.text


async def test_a_custom_tools_call_is_one_of_its_kind(fake):
    tool = {"type": "custom", "name": "get_weather"}
    answer = await ask(request(target(fake, "chat", "oneshottool"), tools=[tool]))
    assert [item["type"] for item in answer.output] == ["custom_tool_call"]


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
async def test_litellm_posts_a_chat_only_model_to_chat_under_its_own_name(fake, provider):
    """Others than OpenAI's would be asked in a Responses API, for a model with two names."""
    model = f"{provider}/chat_completions/m-text"
    asked = Target("m", model, fake.base_url + "/v1", KEY, retries=0, via="litellm")
    result = await ask(request(asked), LitellmUpstream())
    assert (result.error, result.text) == (None, "Hello, world!")
    assert [(call["path"], call["body"]["model"]) for call in fake.log] == [
        ("/v1/chat/completions", "m-text")
    ]
