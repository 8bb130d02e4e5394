"""litellm's undocumented parts: a stream is played, and each part has to be where it is looked for.

A release without one of them fails that part's test, with its name.
"""

import asyncio

import pytest
from upstreams.asking import ask, request, target

from ws_bridge.protocol.tools import NO_TOOLS
from ws_bridge.upstream.litellm import access, client, closing, internals
from ws_bridge.upstream.litellm.internals import LitellmPart, MissingPart
from ws_bridge.upstream.litellm.setup import litellm
from ws_bridge.upstream.litellm.sources import source_of
from ws_bridge.upstream.litellm.upstream import call_of

PATHS = [
    internals.HTTP_HANDLER,
    internals.CHAT_BRIDGE,
    internals.LITELLM_PARAMS,
    internals.RESPONSE_IDS,
    internals.PROVIDER_CONFIGS,
    internals.GUESSES,
    internals.BEDROCK,
    internals.BEDROCK_MODELS,
    internals.BEARER_OF,
    internals.GEMINI_URL,
    internals.TLS,
    internals.PROVIDER_NAMES,
    internals.LITELLM_PARAMS,
    internals.MAKE_CALLBACK,
]
GATEWAY = {"type": "mcp", "server_label": "gateway", "server_url": "litellm_proxy"}
# Parts by the object that they are looked for on.
HELD = {
    "answer": [internals.CHAT_STREAM],
    "chunks": [
        internals.FINISH_REASON,
        internals.EARLY_FINISH_REASON,
        internals.LOGGER,
    ],
    "logger": [internals.BOOKED_LATER],
    "handler": [internals.CLIENT, internals.NEW_CLIENT],
    "litellm": [internals.SDK_CLIENT, *internals.LISTENERS],
    "rules": [internals.RULES],
    "guesses": [*internals.GUESSERS],
    "configs": [internals.CHAT_CONFIG, internals.RESPONSES_CONFIG],
    "config": [internals.CHAT_URL, internals.CREDENTIALS],
    "aws": [
        internals.AWS_REGION,
        internals.AWS_CREDENTIALS,
        internals.AWS_ENDPOINT,
        internals.AWS_HEADERS,
    ],
}
PARTS = [(holder, part) for holder, parts in HELD.items() for part in parts]


async def played(fake):
    """What holds the parts, after a chat stream was read to its end."""
    asked = target(fake, "chat", "text")
    opened, tap = await client.open_stream(call_of(request(asked)))
    source = source_of(opened, tap, NO_TOOLS)
    while await source.read() is not None:
        pass
    await source.close()
    chunks = client.chat_stream(opened)
    rules = internals.load(internals.GUESSES)
    return {
        "answer": opened,
        "chunks": chunks,
        "logger": internals.LOGGER.find(chunks),
        "handler": client._client(),
        "litellm": litellm,
        "rules": rules,
        "guesses": internals.RULES.find(rules),
        "configs": access._ProviderConfigs,
        "config": access._place(asked).config,
        "aws": access._aws,
    }


def check(holder: object, part: LitellmPart) -> None:
    assert hasattr(holder, part.name), f"litellm has no {part.name} any more: {part.use}"


@pytest.mark.parametrize(("holder", "part"), PARTS, ids=lambda each: getattr(each, "name", ""))
async def test_litellm_has_the_part(fake, holder, part):
    check((await played(fake))[holder], part)


@pytest.mark.parametrize(("holder", "part"), PARTS, ids=lambda each: getattr(each, "name", ""))
async def test_a_part_that_is_taken_away_is_named(fake, holder, part):
    whole = (await played(fake))[holder]
    with pytest.raises(AssertionError, match=part.name):
        check(Without(whole, part.name), part)


class Without:
    """An object but for one attribute."""

    def __init__(self, whole, name):
        self._whole, self._name = whole, name

    def __getattr__(self, name):
        if name == self._name:
            raise AttributeError(name)
        return getattr(self._whole, name)


@pytest.mark.parametrize("path", PATHS)
def test_litellm_has_what_is_imported(path):
    assert internals.load(path)


def test_every_part_has_its_test():
    parts = [value for value in vars(internals).values() if isinstance(value, LitellmPart)]
    lists = [value for value in vars(internals).values() if isinstance(value, tuple)]
    assert {part for _, part in PARTS} == {*parts, *(part for each in lists for part in each)}
    paths = {text for text in vars(internals).values() if str(text).startswith("litellm.")}
    assert paths == set(PATHS)


async def test_an_answer_of_any_family_can_be_closed(fake):
    for family in ("native", "chat", "sdk", "anthropic", "gemini"):
        asked = target(fake, family, "text")
        opened, _ = await client.open_stream(call_of(request(asked)))
        assert hasattr(opened, "aclose"), f"litellm's answer of {family} has no aclose any more"
        await closing.close(opened)


async def test_the_gateways_tools_are_the_providers_to_judge(fake):
    """With the argument litellm sends the tool on; without, it looks for its own gateway."""
    asked = target(fake, "native", "text")
    answer = await ask(request(asked, tools=[GATEWAY]))
    assert answer.error is None
    assert [tool["server_url"] for tool in fake.log[-1]["body"]["tools"]] == ["litellm_proxy"]


async def test_without_its_argument_the_gateways_tools_are_not(fake, monkeypatch):
    monkeypatch.setattr(internals, "NO_MCP", "_gone")
    answer = await ask(request(target(fake, "native", "text"), tools=[GATEWAY]))
    assert answer.error is not None or "tools" not in fake.log[-1]["body"]


async def test_what_litellm_only_pretends_to_stream_is_known_by_its_class(fake):
    asked = target(fake, "native", "text")
    given = call_of(request(asked)).arguments()
    unknown = await litellm.aresponses(**{**given, "model": "openai/of-its-own"})
    assert not client.is_stream(unknown)
    opened, _ = await client.open_stream(call_of(request(asked)))
    assert client.is_stream(opened)
    await asyncio.gather(closing.close(opened), closing.close(unknown))


def test_a_missing_part_is_named():
    with pytest.raises(MissingPart, match="no_such_part"):
        LitellmPart("no_such_part", "nothing").of(litellm)
    with pytest.raises(MissingPart, match=r"litellm\.no_such_module"):
        internals.load("litellm.no_such_module.Thing")
    assert LitellmPart("no_such_part", "nothing").find(litellm) is None
