"""Dialects: a stream read with plain deltas taken gives what litellm makes of all of it."""

import orjson
import pytest
from transcripts import FAMILIES
from upstreams.frames import (
    CHAT,
    END_CHAT,
    HELLO_CHAT,
    call,
    chat,
    frame,
)
from upstreams.twice import Provider, Wire, both, read

from ws_bridge.protocol.output.chat import Chunk
from ws_bridge.upstream.dialects import reader_of
from ws_bridge.upstream.profiles import PROFILES, profile_of


@pytest.fixture
async def provider(fake):
    made = Provider(fake)
    yield made
    await made.close()


# Every scenario, and how many of its frames are taken. None where there is no delta, or where the
# first one is the last; few where something follows that is litellm's to judge to the end.
TAKEN = {
    "chat": """
        m-text 4 m-tools 5 m-textools 7 m-rtools 8 m-reasoning 7 m-interleavereasoning 10
        m-bothreasoning 5 m-length 1 m-cfilter 1 m-midmsgerr 2 m-nofinish 1 m-emptychoices 1
        m-nousage 4 m-annot 1 m-images 1 m-badline 3 m-cleaneof 4 m-rfield-reasoning 7
        m-nousage-rtools 8 m-big50 50""",
}
CUT = ("drop", "stall")  # how much of it arrives is the network's choice
SCENARIOS = {
    (family, scenario): int(told.get(scenario, 0))
    for family, text in TAKEN.items()
    if (told := dict(zip(text.split()[::2], text.split()[1::2], strict=True)))
    for scenario in [*FAMILIES[family][2].split(), *told]
    if "err" not in scenario.replace("miderr", "").replace("midmsgerr", "")
}


@pytest.mark.parametrize(("family", "scenario"), SCENARIOS)
async def test_every_transcript_comes_out_equal_with_its_plain_deltas_taken(
    provider, family, scenario
):
    model = FAMILIES[family][0] + scenario
    taken = await both(provider, model, await provider.record(model))
    assert taken == SCENARIOS[family, scenario] or scenario.partition("-")[2] in CUT


@pytest.mark.parametrize("name", [name for name, of in PROFILES.items() if of.reader])
async def test_every_provider_of_the_table_comes_out_equal(provider, name):
    model = {"openai": "openai/chat_completions/m-"}
    prefix = model.get(name, f"{name}/m-")
    for scenario in ("nousage-rtools", "bothreasoning"):
        wire = await provider.record(prefix + scenario)
        assert await both(provider, prefix + scenario, wire) > 1


QUIRKS = {
    "groq": [
        chat({"role": "assistant", "content": None}, x_groq={"id": "req_1"}),
        chat({"channel": "analysis", "reasoning": "Hm"}),
        chat({"content": "Hi"}),
        chat({"content": " there"}, system_fingerprint="fp_2"),
    ],
    "vLLM": [
        chat({"role": "assistant", "content": "", "reasoning_content": None}),
        chat({"content": None, "reasoning": "a", "reasoning_content": "a"}),
        chat({"content": "b", "tool_calls": []}, choice={"stop_reason": None, "token_ids": None}),
        chat({"reasoning": None, "reasoning_content": None, "content": "c"}),
    ],
    "role each time": [chat({"role": "assistant", "content": text}) for text in "abcd"],
    "together": [
        chat(
            {"token_id": 8, "role": "assistant", "content": text, "tool_calls": None},
            choice={"text": text, "seed": None, "logprobs": None},
        )
        for text in "abcd"
    ],
    "ids each time": [
        HELLO_CHAT,
        chat(call(0, "", "call_1", "f")),
        chat(call(0, '{"a":', "call_1")),
        chat(call(0, "1}", "call_1")),
        chat(
            {
                "tool_calls": [
                    {"index": 0, "id": "", "type": None, "function": {"name": "", "arguments": " "}}
                ]
            }
        ),
    ],
    "two calls at once": [
        HELLO_CHAT,
        chat(
            {
                "tool_calls": [
                    *call(0, "", "a", "f")["tool_calls"],
                    *call(1, "", "b", "g")["tool_calls"],
                ]
            }
        ),
        chat(
            {
                "tool_calls": [
                    *call(
                        1,
                        "{",
                    )["tool_calls"],
                    *call(0, "{")["tool_calls"],
                ]
            }
        ),
        chat(call(0, "}")),
        chat(call(1, "}")),
    ],
    "padding and comments": [
        b": PROCESSING\n\n",
        HELLO_CHAT,
        b"\n",
        b": PROCESSING\n\n",
        *(chat({"content": text}, obfuscation="x" * 9) for text in "abc"),
    ],
}


@pytest.mark.parametrize("quirk", QUIRKS)
@pytest.mark.parametrize("model", ["groq/m", "deepseek/m", "openai/chat_completions/m"])
async def test_what_real_providers_add_is_known(provider, quirk, model):
    assert await both(provider, model, Wire([*QUIRKS[quirk], *END_CHAT])) == 3


# What litellm does with a text, and what it must not be led to do


async def test_tags_of_thought_in_a_text_are_text(provider):
    """They are left alone in a stream of this kind."""
    texts = ("<think>", "a", "</think>", "b")
    frames = [HELLO_CHAT, *(chat({"content": text}) for text in texts), *END_CHAT]
    assert await both(provider, "groq/m", Wire(frames)) == len(texts)


@pytest.mark.parametrize("lost", ["all [DONE] now", "a\u2028b", "a\x85b"])
async def test_a_text_that_looks_like_an_end_is_taken_and_does_no_harm_in_its_books(provider, lost):
    """Litellm took any line with "[DONE]" for the last, and cut lines where no line ends.

    Some releases still do, so what it is given of such a text is written in another way.
    """
    plain = [
        orjson.dumps({**CHAT, "choices": [{"index": 0, "delta": {"content": text}}]}).decode()
        for text in ("a ", lost, " z")
    ]
    wire = Wire([HELLO_CHAT, *map(frame, plain), *END_CHAT])
    fast = await read(provider, "groq/m", wire, reader_of("chat"))
    message = fast.books["answer"]["choices"][0]["message"]
    assert message["content"] == fast.books["held"] == f"a {lost} z"
    assert fast.drafts[-1].fields["response"]["output"][0]["content"][0]["text"] == f"a {lost} z"


# The reader alone


def reader_after(name, *frames):
    """A reader that has seen the frames, and took none of them."""
    reader = reader_of(name)
    assert [reader.take(each) for each in frames] == [None] * len(frames)
    return reader


def test_a_provider_that_was_not_shown_to_come_out_equal_has_no_reader():
    assert reader_of(profile_of("gemini").reader) is None


def test_the_first_frame_that_says_something_is_litellms():
    """From it come the model's name and the time of the first token."""
    reader = reader_after("chat", chat({"content": "", "role": None}), chat({"content": "a"}))
    assert reader.take(chat({"content": "b"})) == Chunk(text="b")


@pytest.mark.parametrize(
    "odd",
    [
        chat({"content": "a"}, unknown=None),
        chat({"content": "a"}, choice={"unknown": None}),
        chat({"content": "a", "unknown": None}),
        chat({"content": 1}),
        chat({"content": "a"}, "stop"),
        chat({"content": "a"}, choice={"index": 1}),
        chat({"content": "a"}, usage={"prompt_tokens": 1}),
        chat({"reasoning": None, "reasoning_content": "a"}),
        chat(call(0, "{")),
        frame({**CHAT, "choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {}}]}),
        frame({**CHAT, "choices": [None]}),
        frame({**CHAT, "choices": [{"index": 0, "delta": {"tool_calls": [None]}}]}),
        frame({**CHAT, "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}]}),
        frame({"error": {"message": "no"}}),
        frame("[DONE]"),
        frame("[]"),
        frame('{"cut": "of'),
        frame('{"two":\r1}'),
        frame({**CHAT, "choices": []}, name="error"),
        b": comment\n" + HELLO_CHAT,
        HELLO_CHAT.removesuffix(b"\n\n"),
    ],
)
def test_after_what_is_not_understood_nothing_is_taken_any_more(odd):
    reader = reader_after("chat", HELLO_CHAT)
    assert reader.take(chat({"content": "a"})) == Chunk(text="a")
    assert reader.take(odd) is None
    assert reader.take(chat({"content": "b"})) is None


def test_what_begins_is_litellms_and_ends_nothing():
    """A comment, a call, a choice of nothing."""
    reader = reader_after("chat", HELLO_CHAT, b": comment\n\n", chat(call(0, "", "a", "f")))
    assert reader.take(frame({**CHAT, "choices": []})) is None
    assert reader.take(chat(call(0, "{"))).tool_calls[0].arguments == "{"


def test_what_is_owed_is_one_frame_in_ascii_and_owed_once():
    reader = reader_after("chat", HELLO_CHAT, chat(call(1, "", "a", "f")))
    for delta in ({"content": "ö[DO"}, {"content": "NE]"}, {"reasoning": "r"}, call(1, "{")):
        assert reader.take(chat(delta)) is not None
    owed = reader.owed()
    assert owed.isascii()
    assert b"[DONE]" not in owed
    assert orjson.loads(owed.removeprefix(b"data: ")) == {
        **CHAT,
        "choices": [
            {
                "index": 0,
                "delta": {
                    "content": "ö[DONE]",
                    "reasoning_content": "r",
                    "tool_calls": [{"index": 1, "function": {"arguments": "{"}}],
                },
            }
        ],
    }
    assert reader.owed() is None
