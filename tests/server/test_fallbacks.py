"""The whole bridge where a provider fails: the client sees one response, or one error."""

import asyncio
from collections import Counter

import pytest
from support.event_checker import check_events
from support.fleet import FAMILIES
from support.hang import HANG_SECONDS
from support.turned_loop import silence
from upstreams import FakeProviders

KEYS = {"ONE": "sk-operators-own-1", "TWO": "sk-operators-own-2"}

each_family = pytest.mark.parametrize("family", FAMILIES)

SILENCE = 100.0  # of a provider, at most


@pytest.fixture(scope="module")
def fake():
    with FakeProviders() as running:
        yield running


@pytest.fixture
async def bridge_with(serve, fake):
    """A function that starts a bridge with a model table."""
    fake.reset()

    async def start(*models, callbacks=(), **server):
        sections = {"models": models, "server": server}
        sections["telemetry"] = {"litellm_callbacks": callbacks}
        running = await serve(None, sections, KEYS)
        while (await running.get("/readyz"))[0] != 200:  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.05)
        return running

    return start


@pytest.fixture
def entry(fake):
    """A function that makes an entry of the table."""

    def make(name, family, scenario, **more):
        pattern, path = FAMILIES[family]
        asked_for = pattern.replace("*", scenario)
        model = {"name": name, "model": asked_for, "api_base": fake.base_url + path}
        return {**model, "api_key_env": "ONE", "retries": 0, "stall_seconds": SILENCE, **more}

    return make


def text_of(events):
    return "".join(event.get("delta", "") for event in events)


def asked(fake):
    """The models that were asked, in order."""
    return [line["body"]["model"] for line in fake.log if isinstance(line["body"], dict)]


def outcomes(text):
    """The lines of the metrics about who was tried."""
    lines = [line for line in text.splitlines() if line.startswith("ws_bridge_tries_total")]
    return {line.partition("{")[2] for line in lines}


MENDED = """
    err408 err409 err429 err429quota err429long err500 err500html err503 err529 pre1drop zerobytes
    hang""".split()


@each_family
@pytest.mark.parametrize("scenario", MENDED)
async def test_a_provider_that_cannot_answer_is_replaced_unseen(
    bridge_with, entry, fake, family, scenario
):
    broken = entry("m", family, scenario, fallbacks=("spare",))
    bridge = await bridge_with(broken, entry("spare", "native", "text"))
    client = await bridge.connect()
    turning = asyncio.create_task(client.turn(input="hi"))
    if scenario == "hang":
        await silence(fake, broken["model"].partition("/")[2], SILENCE)
    events = await turning
    assert check_events(events) == []
    assert events[-1]["type"] == "response.completed"
    assert text_of(events) == "Hello, world! This is a test."
    assert events[-1]["response"]["model"] == "gpt-text-2025-04-14"
    assert asked(fake) == [FAMILIES[family][0].rstrip("*").partition("/")[2] + scenario, "gpt-text"]
    response_id = events[-1]["response"]["id"]
    assert {event["response"]["id"] for event in events if "response" in event} == {response_id}
    assert (await bridge.get(f"/v1/responses/{response_id}"))[1] == events[-1]["response"]


@each_family
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_an_error_of_the_request_is_one_error_and_no_fallback_is_asked(
    bridge_with, entry, fake, family, status
):
    broken = entry("m", family, f"err{status}", fallbacks=("spare",))
    bridge = await bridge_with(broken, entry("spare", "native", "text"))
    [error] = await (await bridge.connect()).turn(input="hi")
    assert (error["type"], error["status"]) == ("error", status)
    assert len(asked(fake)) == 1


async def test_a_refused_connection_is_replaced_too(bridge_with, entry):
    dead = {**entry("m", "native", "text", fallbacks=("spare",)), "api_base": "http://127.0.0.1:9"}
    bridge = await bridge_with(dead, entry("spare", "anthropic", "text"))
    events = await (await bridge.connect()).turn(input="hi")
    assert text_of(events) == "Hello from Claude!"
    assert "claude" in events[-1]["response"]["model"]


@each_family
@pytest.mark.parametrize("scenario", ["drop", "cleaneof", "stall"])
async def test_after_the_first_output_a_failure_is_the_end(
    bridge_with, entry, fake, family, scenario
):
    broken = entry("m", family, scenario, fallbacks=("spare",))
    bridge = await bridge_with(broken, entry("spare", "native", "text"))
    turning = asyncio.create_task((await bridge.connect()).turn(input="hi"))
    if scenario == "stall":
        await silence(fake, broken["model"].partition("/")[2], SILENCE)
    events = await turning
    assert events[-1]["type"] == "response.failed"
    assert len(asked(fake)) == 1


async def test_a_native_response_that_fails_before_its_first_delta_is_replaced(
    bridge_with, entry, fake
):
    broken = entry("m", "native", "failedearly", fallbacks=("spare",))
    bridge = await bridge_with(broken, entry("spare", "chat", "text"))
    events = await (await bridge.connect()).turn(input="hi")
    assert events[-1]["type"] == "response.completed"
    assert asked(fake) == ["gpt-failedearly", "m-text"]
    assert [event["type"] for event in events].count("response.created") == 1


async def test_when_all_fail_there_is_one_error_with_a_retry_after(bridge_with, entry, fake):
    bridge = await bridge_with(
        entry("m", "native", "err500", fallbacks=("n", "o")),
        entry("n", "chat", "err503"),
        entry("o", "anthropic", "err429", fallbacks=("m",)),
    )
    [error] = await (await bridge.connect()).turn(input="hi")
    assert (error["status"], error["headers"]) == (429, {"retry-after": "7"})
    assert asked(fake) == ["gpt-err500", "m-err503", "claude-err429"]


async def test_what_is_limited_rests_and_a_name_of_its_own_still_reaches_it(
    bridge_with, entry, fake
):
    bridge = await bridge_with(
        entry("m", "native", "err429long", fallbacks=("spare",)), entry("spare", "chat", "text")
    )
    client = await bridge.connect()
    for _ in range(3):
        assert (await client.turn(input="hi"))[-1]["type"] == "response.completed"
    assert Counter(asked(fake)) == {"gpt-err429long": 1, "m-text": 3}


async def test_a_response_that_was_announced_while_the_provider_was_silent(
    bridge_with, entry, fake
):
    """Its announcement stays; what the other one made is known as the other's, in the store too."""
    bridge = await bridge_with(
        entry("m", "chat", "hang", fallbacks=("spare",)),
        entry("spare", "anthropic", "thinking"),
        entry("again", "anthropic", "echo"),
        entry("other", "chat", "echo"),
        created_after_seconds=0.05,
    )
    client = await bridge.connect()
    await client.create(input="hi")
    created = await client.event()
    assert created["type"] == "response.created"
    await silence(fake, "m-hang", SILENCE)
    events = [created, *await client.until("response.completed")]
    assert asked(fake) == ["m-hang", "claude-thinking"]
    assert check_events(events) == []
    assert events[-1]["response"]["id"] == created["response"]["id"]
    for other in (client, await bridge.connect()):
        parent = events[-1]["response"]["id"]
        inputs = {
            name: text_of(await other.turn(model=name, input="on", previous_response_id=parent))
            for name in ("again", "other")
        }
        assert "EqQBsig" in inputs["again"]
        assert "EqQBsig" not in inputs["other"]
        assert all("Hello from Claude!" in text for text in inputs.values())


async def test_entries_of_one_name_share_its_load_and_a_chain_stays_with_its_account(
    bridge_with, entry, fake
):
    accounts = [entry("m", "anthropic", "text", api_key_env=key) for key in KEYS]
    bridge = await bridge_with(*accounts)
    client = await bridge.connect()

    def keys():
        return Counter(line["headers"]["x-api-key"] for line in fake.log)

    for _ in range(6):
        await client.turn(input="hi")
    assert keys() == dict.fromkeys(KEYS.values(), 3)
    fake.reset()
    last = (await client.turn(input="hi"))[-1]["response"]
    other = await bridge.connect()
    for _ in range(4):
        last = (await other.turn(input="on", previous_response_id=last["id"]))[-1]["response"]
    assert list(keys().values()) == [5]


async def test_two_lanes_of_one_socket_run_on_two_models_at_once(bridge_with, entry, fake):
    bridge = await bridge_with(
        entry("m", "native", "gate"),
        entry("n", "chat", "err503", fallbacks=("o",)),
        entry("o", "anthropic", "gate"),
    )
    client = await bridge.connect()
    await client.create(model="m", input="hi", stream_id="one")
    await client.create(model="n", input="hi", stream_id="two")
    await fake.reached("gpt-gate")
    await fake.reached("claude-gate")
    for model in ("gpt-gate", "claude-gate"):
        fake.release(model)
    lanes = {"one": [], "two": []}
    while sum(len(ends(events)) for events in lanes.values()) < 2:
        event = await client.event()
        lanes[event["stream_id"]].append(event)
    assert [text_of(events) for events in lanes.values()] == [
        "Hello, world! This is a test.",
        "Hello from Claude!",
    ]


def ends(events):
    return [event for event in events if event["type"] == "response.completed"]


CALLBACKS = """
    input_callback success_callback failure_callback _async_input_callback
    _async_success_callback _async_failure_callback""".split()


@pytest.fixture
def outcomes_of_calls(monkeypatch):
    """What a callback of litellm's gets, as an operator may have one."""
    import litellm  # noqa: PLC0415 - it takes seconds to import
    from litellm.integrations.custom_logger import CustomLogger  # noqa: PLC0415 - the same

    outcomes_of_calls = asyncio.Queue()

    class Logger(CustomLogger):
        async def async_log_success_event(self, kwargs, **_):
            await outcomes_of_calls.put(("success", kwargs["model"]))

        async def async_log_failure_event(self, kwargs, **_):
            await outcomes_of_calls.put(("failure", kwargs["model"]))

    for name in CALLBACKS:
        monkeypatch.setattr(litellm, name, [])
    monkeypatch.setattr(litellm, "callbacks", [Logger()])
    return outcomes_of_calls


@each_family
async def test_litellms_callbacks_see_each_turn_once(bridge_with, entry, outcomes_of_calls, family):
    """Plain, after a retry, by a fallback; after the last call none comes late."""
    bridge = await bridge_with(
        entry("m", family, "text", via="litellm"),
        entry("again", family, "flaky1", retries=1, via="litellm"),
        entry("broken", "chat", "err500", fallbacks=("m",), via="litellm"),
        entry("last", "chat", "last", via="litellm"),
    )
    client = await bridge.connect()
    for model in ("m", "again", "broken", "last"):
        events = await client.turn(model=model, input="hi")
        assert events[-1]["type"] == "response.completed"
    outcomes = Counter()
    while not outcomes["success", "m-last"]:
        outcomes[await asyncio.wait_for(outcomes_of_calls.get(), HANG_SECONDS)] += 1
    name = FAMILIES[family][0].rstrip("*").partition("/")[2]
    del outcomes["success", "words"]  # the demo model, at the start
    assert outcomes == {
        ("success", "m-last"): 1,
        ("success", f"{name}text"): 2,
        ("success", f"{name}flaky1"): 1,
        ("failure", f"{name}flaky1"): 1,
        ("failure", "m-err500"): 1,
    }


@pytest.fixture
def heard_by_name(monkeypatch):
    """What litellm's callback `langsmith` hears: models. It posts nothing."""
    import litellm  # noqa: PLC0415 - it takes seconds to import
    from litellm.integrations.langsmith import LangsmithLogger  # noqa: PLC0415 - the same
    from litellm.litellm_core_utils import litellm_logging  # noqa: PLC0415 - the same

    heard = asyncio.Queue()

    async def hear(_self, kwargs, *_, **__):
        await heard.put(kwargs["model"])

    for name in (*CALLBACKS, "callbacks"):
        monkeypatch.setattr(litellm, name, [])
    monkeypatch.setattr(litellm_logging, "_in_memory_loggers", [])
    monkeypatch.setattr(LangsmithLogger, "async_log_success_event", hear)
    monkeypatch.setenv("LANGSMITH_API_KEY", "x")
    monkeypatch.delenv("LANGFUSE_SECRET_KEY", raising=False)
    return heard


async def test_callbacks_by_name_hear_of_litellms_calls_and_of_no_others(
    bridge_with, entry, heard_by_name, caplog
):
    """One that cannot be started is a warning. The first call of the server is heard by none."""
    bridge = await bridge_with(
        entry("ours", "chat", "text"),
        entry("theirs", "chat", "text2", via="litellm"),
        callbacks=("langfuse", "langsmith"),
    )
    [line] = [one for one in caplog.messages if one.startswith("callback_unusable")]
    assert line == "callback_unusable name=langfuse: its package or its variables are missing"
    client = await bridge.connect()
    for model in ("ours", "theirs"):
        assert (await client.turn(model=model, input="hi"))[-1]["type"] == "response.completed"
    assert await asyncio.wait_for(heard_by_name.get(), HANG_SECONDS) == "m-text2"
    assert heard_by_name.empty()


async def test_what_a_turn_cost_is_in_its_log_line_if_the_operator_wants_it(
    bridge_with, entry, caplog
):
    caplog.set_level("INFO", logger="ws_bridge")
    bridge = await bridge_with(
        entry("m", "native", "err500", fallbacks=("paid",)),
        entry("paid", "native", "4.1-mini"),
        report_cost=True,
    )
    events = await (await bridge.connect()).turn(input="hi")
    cost = events[-1]["response"]["usage"]["cost"]
    assert cost > 0
    while not (lines := [x for x in caplog.messages if "outcome=" in x]):  # noqa: ASYNC110 - a log
        await asyncio.sleep(0)
    [line] = lines
    assert f"cost={cost:.6f}" in line
    assert "model=m " in line
    assert "tried=openai/gpt-err500:500,openai/gpt-4.1-mini:answers " in line


async def test_what_was_tried_is_counted(bridge_with, entry):
    bridge = await bridge_with(
        entry("m", "native", "err503", fallbacks=("spare",)), entry("spare", "chat", "text")
    )
    await (await bridge.connect()).turn(input="hi")
    text = ""
    while "ws_bridge_responses_total{" not in text:  # the outcome comes right after the end
        async with bridge.session.get(bridge.url + "/metrics") as got:
            text = await got.text()
    assert outcomes(text) == {
        'model="m",outcome="503",provider="openai"} 1.0',
        'model="spare",outcome="answers",provider="groq"} 1.0',
    }
    counted = 'model="m",outcome="completed",provider="groq",transport="websocket"} 1.0'
    assert f"ws_bridge_responses_total{{{counted}" in text
    assert 'ws_bridge_cooldowns_total{model="m",provider="openai"} 1.0' in text
    assert "ws_bridge_cooling 1.0" in text
