"""Readers against litellm: of the same bytes both make the same response, but for what is listed.

A difference that is not listed fails, and so does a listed one that does not come.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version

import pytest
from wires import PROVIDERS, wires
from wires.readings import all_by_litellm, by_the_reader, differences

GUESSED = "litellm counts the words of a thought itself where the provider tells no figure."
COUNTED = "litellm makes figures up where the provider tells none."
UNSEEN = "What the provider ran itself is an item of the answer; litellm has no chunk for it."
MORE_CALLS = "A call that the provider ran is not the client's to answer."
WHOLE = "litellm reads JSON in place of a stream as a stream that has nothing in it."
LOST_END = "litellm has no failure of this name, and calls the answer complete."
SIGNED = "The signature goes back to the provider in an item; litellm has it beside the chunks, or"
SIGNED += " in the call's id."
STATELESS = "Clients that keep their history themselves send no thought back that is not sealed."
NO_REFUSAL = "litellm drops the field `refusal` of this provider's deltas."
NO_END = "The provider always says how an answer ends; litellm makes an end up for one without."
MODEL = "The model that answered is in the stream; litellm names the one that was asked for."
# litellm looks for them under a key `data`, which Cohere's events do not have.
COHERE_END = "litellm does not find how Cohere's answers end: each is cut off to it."
COHERE_PLAN = "litellm does not find Cohere's thoughts and plans."
ENDED = {"status error usage": COHERE_END}
CUT = {"status error usage reason": COHERE_END}

# What litellm never tells, family by family.
ALWAYS = {
    "anthropic": {"model": MODEL},
    "gemini": {"model": MODEL},
    "openai_chat": {"model": MODEL},
}
# By wire: fields, and the reason why the reader is right.
DIFFERENCES: dict[str, dict[str, str]] = {
    "anthropic-thinking": {"usage": GUESSED},
    "anthropic-thinking-between-tools": {"usage": GUESSED},
    "anthropic-search": {
        "order hosted": UNSEEN,
        "annotations": "A citation is of its whole block, whose end is known when it is over.",
    },
    "anthropic-code": {"order hosted": UNSEEN},
    "anthropic-mcp": {"order hosted": UNSEEN},
    "anthropic-fetch": {"order hosted": UNSEEN},
    "anthropic-container": {"order hosted": UNSEEN},
    "anthropic-tool-search": {"order hosted": UNSEEN},
    "anthropic-called-by-code": {"order hosted": UNSEEN},
    "anthropic-paused": {"order hosted": UNSEEN},
    "anthropic-search-between-thoughts": {
        "order hosted": UNSEEN,
        "usage": GUESSED,
        "reasoning seals": "A thought after a tool is another thought; litellm adds it to the"
        " first.",
    },
    "anthropic-document-citation": {
        "annotations": "A citation stands at the end of the text that cites; no file's id is made"
        " up for a document that has none.",
    },
    "anthropic-whole": {"refused": WHOLE},
    "bedrock-thinking": {"usage": GUESSED},
    "bedrock-citation": {"annotations": "litellm has Bedrock's citations beside the chunks only."},
    "bedrock-nova-search": {
        "order hosted": UNSEEN,
        "calls": MORE_CALLS,
        "annotations": "litellm has Bedrock's citations beside the chunks only.",
    },
    "bedrock-nova-code": {"order hosted": UNSEEN, "calls": MORE_CALLS},
    "bedrock-thinking-and-call": {"usage": GUESSED},
    "bedrock-malformed": {"status error usage": LOST_END},
    "cohere-plain": ENDED,
    "cohere-thinking": {**ENDED, "order reasoning seals": COHERE_PLAN},
    "cohere-plan-and-calls": {
        "status error usage calls": COHERE_END,
        "order reasoning seals": COHERE_PLAN,
    },
    "cohere-call-without-arguments": {"status error usage calls": COHERE_END},
    "cohere-citations": {**ENDED, "annotations": "litellm does not find Cohere's citations."},
    "cohere-cut": CUT,
    "cohere-cut-call": CUT,
    "cohere-stop-sequence": ENDED,
    "cohere-toxic": CUT,
    "cohere-failed-end": {"error": COHERE_END},
    "cohere-unknown-end": ENDED,
    "cohere-error-amid": {"error": "litellm passes over an event of Cohere's that has no type."},
    "cohere-whole": {"refused": WHOLE},
    "gemini-thinking": {"order reasoning seals": SIGNED, "usage": GUESSED},
    "gemini-calls": {"order reasoning seals": SIGNED},
    "gemini-call-without-args": {
        "refused": "Gemini leaves out the arguments of a call that has none; litellm fails at it.",
    },
    "gemini-code": {"order hosted": UNSEEN},
    "gemini-grounding": {"order hosted": UNSEEN},
    "gemini-signed-text": {"order reasoning seals": SIGNED, "usage": GUESSED},
    "gemini-signed-picture": {"order reasoning seals": SIGNED},
    "gemini-tool-calls": {
        "order hosted": UNSEEN,
        "reasoning seals": SIGNED,
        "calls": "litellm puts the signature into the call's id.",
    },
    "gemini-function-response": {"order hosted": UNSEEN},
    "gemini-retrieval": {
        "order hosted": UNSEEN,
        "annotations": "litellm knows pages of the web only.",
    },
    "gemini-malformed-call": {"refused": LOST_END},
    "gemini-error-amid": {
        "error": "The message is the provider's; litellm puts its own word for it in front."
    },
    "gemini-wire-cut": {"status error usage": NO_END},
    "openai_chat-reasoning": {"seals": STATELESS},
    "openai_chat-reasoning-field": {"usage": GUESSED, "seals": STATELESS},
    "openai_chat-reasoning-list": {"usage": GUESSED},
    "openai_chat-reasoning-details": {
        "usage": GUESSED,
        "seals": "The details have a signature that goes back; litellm has them beside the chunks.",
    },
    "openai_chat-refusal": {"order refusal annotations logprobs": NO_REFUSAL},
    "openai_chat-no-usage": {"usage": COUNTED},
    "openai_chat-sources": {
        "annotations": "A mark in the text cites a source; litellm lists the sources alone.",
    },
    "openai_chat-ran-tools": {"order hosted": UNSEEN},
    "openai_chat-ran-more-tools": {"order hosted": UNSEEN},
    "openai_chat-steps": {
        "order hosted": UNSEEN,
        "reasoning seals": "A step of the search has a thought; litellm drops the steps.",
        "annotations": "litellm lists the sources alone.",
    },
    "openai_chat-sealed-details": {
        "order reasoning seals": "The details have a seal that goes back; litellm has them beside"
        " the chunks.",
    },
    "openai_chat-signed-calls": {
        "order reasoning seals": "A call's own extras go back; litellm has them beside the chunks.",
    },
    "openai_chat-odd-call-ids": {
        "calls": "Clients get ids of at most 64 plain characters; litellm passes on all ids.",
    },
    "openai_chat-read-file": {
        "annotations": "What was read in a file is OpenRouter's own note, and no citation.",
    },
    "openai_chat-error-amid": {
        "error": "litellm takes the error's code for a number, and fails at a word.",
    },
    "openai_chat-failed-end": {"status error usage": LOST_END},
    "openai_chat-no-end": {"status error usage": NO_END},
    "openai_chat-second-choice": {
        "text": "Another choice is another answer; litellm adds its text to the first one's.",
    },
    "openai_chat-whole": {"order text annotations logprobs": WHOLE},
    "responses-whole": {"refused": WHOLE},
}

# The same for releases before ``NEWEST``, whole; between the lowest and it, either is allowed.
NEWEST = (1, 110)
FAILS_AT_CALLS = "litellm fails at the events of Cohere's calls."
OLDER: dict[str, dict[str, str]] = {
    "anthropic-search": DIFFERENCES["anthropic-search"] | {"calls": MORE_CALLS},
    **{
        f"anthropic-{name}": DIFFERENCES[f"anthropic-{name}"] | {"calls": MORE_CALLS}
        for name in (
            "code",
            "fetch",
            "container",
            "tool-search",
            "called-by-code",
        )
    },
    "anthropic-advisor": {"order calls": MORE_CALLS},
    "anthropic-paused": {
        "order hosted": UNSEEN,
        "calls": MORE_CALLS,
        "status reason": "An answer that pauses is not over.",
    },
    "anthropic-search-between-thoughts": {
        "order hosted": UNSEEN,
        "calls": MORE_CALLS,
        "usage": GUESSED,
    },
    "anthropic-refusal": {"refusal annotations logprobs": "The refusal has an explanation."},
    "anthropic-full-window": {"status reason": "An answer that fills the window is cut short."},
    "cohere-plan-and-calls": {"refused": FAILS_AT_CALLS},
    "cohere-call-without-arguments": {"refused": FAILS_AT_CALLS},
    "cohere-cut-call": {"refused": FAILS_AT_CALLS},
    "responses-untyped-event": {"error": "The failure is an event without a type: it is named."},
}

each_wire = pytest.mark.parametrize("wire", wires(), ids=str)


@pytest.fixture(scope="module")
def others():
    """What litellm makes of all wires."""
    return asyncio.run(all_by_litellm(wires()))


def found(wire, others):
    return differences(wire, by_the_reader(wire), others[wire])


def listed(table, wire):
    return {name for names in table.get(str(wire), {}) for name in names.split()}


def is_older():
    major, minor, *_ = version("litellm").split(".")
    return (int(major), int(minor)) < NEWEST


@each_wire
def test_the_reader_and_litellm_differ_as_listed(wire, others):
    tables = [DIFFERENCES, DIFFERENCES | OLDER] if is_older() else [DIFFERENCES]
    own = found(wire, others) - ALWAYS.get(wire.family, {}).keys()
    assert own in [listed(table, wire) for table in tables]


@pytest.mark.parametrize("family", ALWAYS)
def test_what_litellm_never_tells_it_does_not_tell(family, others):
    own = [wire for wire in others if wire.family == family]
    assert ALWAYS[family].keys() <= set.union(*(found(wire, others) for wire in own))


def test_every_listed_wire_exists_and_every_family_has_wires():
    assert DIFFERENCES.keys() | OLDER.keys() <= set(map(str, wires()))
    assert {wire.family for wire in wires()} == PROVIDERS.keys()
