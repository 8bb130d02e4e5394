"""What Gemini ran itself goes back to it in its own parts, in the place of the items."""

import json

import pytest

from ws_bridge.protocol.history import PROVIDER_TURN
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.cohere import FAMILY as COHERE
from ws_bridge.upstream.dialects.entries import AnswerText, MakerTurn
from ws_bridge.upstream.dialects.gemini import FAMILY
from ws_bridge.upstream.dialects.gemini.own_parts import AnswerParts, own_parts
from ws_bridge.upstream.dialects.gemini.signatures import UNSIGNED

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
CODE = {"executableCode": {"language": "PYTHON", "code": "1+1", "id": "c1"}}
RAN = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2\n", "id": "c1"}}
SEARCH = {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "s1", "args": {"queries": ["q"]}}}
FOUND = {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "id": "s1", "response": {"a": [1]}}}
USER = {"type": "message", "role": "user", "content": "Go on."}
GO_ON = {"role": "user", "parts": [{"text": "Go on."}]}
BLANK = {"role": "user", "parts": [{"text": " "}]}


def signed(part, value="c2ln"):
    return {**part, "thoughtSignature": value}


def call(name="weather", **more):
    return {"functionCall": {"name": name, **more}}


@pytest.fixture
def kept(play):
    """The side data of an answer, and its items as the next turn has them."""

    def _kept(*parts, **more):
        played = play(*parts, tools=[WEATHER], **more)
        assert played.error is None
        side_data = played.drafts[-1].fields.get("side_data")
        return json.loads(json.dumps(side_data)), played.output

    return _kept


@pytest.fixture
def contents(seals):
    """What a model gets of items; all of the body but `contents` is left out."""

    def _contents(*items, model="gemini-3-pro"):
        table = ToolTable.of([WEATHER])
        given = WriterInput(model, "gemini", list(items), {"tools": [WEATHER]}, table, seals)
        return FAMILY.write(given).body["contents"]

    return _contents


def turn(side_data, items):
    return {"type": PROVIDER_TURN, "side_data": side_data, "items": items}


def answers(items):
    """A result for each call of the items."""
    return [
        {"type": "function_call_output", "call_id": item["call_id"], "output": str(place)}
        for place, item in enumerate(i for i in items if i["type"] == "function_call")
    ]


def result(output, **more):
    return {"functionResponse": {"name": "weather", "response": {"output": output}, **more}}


# What is kept


@pytest.mark.parametrize(
    "parts",
    [
        [{"text": "a"}],
        [signed({"text": "Hm", "thought": True}), signed(call(id="f1")), signed({"text": ""})],
        [{"inlineData": {"mimeType": "image/png", "data": "QUJD"}}],
    ],
)
def test_an_answer_without_hosted_parts_has_no_side_data(kept, parts):
    assert kept(*parts)[0] is None


def test_a_search_that_only_the_metadata_tell_of_has_none(kept):
    metadata = {"webSearchQueries": ["q"]}
    side_data, items = kept({"text": "a"}, groundingMetadata=metadata)
    assert side_data is None
    assert "web_search_call" in [item["type"] for item in items]


def test_parts_are_kept_as_they_came_in_their_order(kept):
    parts = [
        signed(CODE),
        RAN,
        {"text": "It "},
        {"text": "is "},
        {"text": "2"},
        signed({"text": "."}, "b3Ro"),
        signed({"text": ""}, "bGFzdA=="),
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
        signed(SEARCH),
        FOUND,
        signed(call(id="f1", args={"a": 1})),
        call(),
    ]
    side_data, _ = kept({"text": "Let me see.", "thought": True}, *parts)
    assert side_data == {"parts": [*parts[:2], {"text": "It is 2"}, *parts[5:]]}


def test_a_result_amid_a_text_stands_there(kept):
    side_data, _ = kept(SEARCH, {"text": "a"}, FOUND, {"text": "b"})
    assert side_data == {"parts": [SEARCH, {"text": "a"}, FOUND, {"text": "b"}]}


def test_what_is_beside_a_part_and_unknown_is_not_kept(kept):
    odd = {**CODE, "videoMetadata": {"fps": 1}, "thoughtSignature": 7}
    draft = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}, "thought": True}
    assert kept(odd, draft, RAN)[0] == {"parts": [CODE, RAN]}


def test_a_result_of_a_function_that_the_provider_ran_is_kept(kept):
    ran = {"functionResponse": {"name": "look", "id": "x", "response": {"a": 1}}}
    assert kept(ran)[0] == {"parts": [ran]}


def test_halves_of_a_character_in_two_texts_are_one():
    parts = AnswerParts()
    parts.add(CODE, "")
    parts.add_text("\ud83d", "")
    parts.add_text("\ude00", "")
    assert parts.side_data(is_cut=False) == {"parts": [CODE, {"text": "\U0001f600"}]}


def test_a_search_that_was_cut_off_from_its_result_is_not_kept(kept):
    other = {"toolCall": {**SEARCH["toolCall"], "id": "s2"}}
    assert kept(SEARCH, FOUND, other, end="MAX_TOKENS")[0] == {"parts": [SEARCH, FOUND]}
    assert kept(SEARCH, {"text": "a"}, end="MAX_TOKENS")[0] is None
    assert kept(SEARCH, {"text": "a"})[0] == {"parts": [SEARCH, {"text": "a"}]}


def test_a_failure_has_no_side_data(play):
    played = play(CODE, RAN, end="MALFORMED_FUNCTION_CALL")
    assert played.error is not None
    assert not any("side_data" in draft.fields for draft in played.drafts)


# What goes back


def test_parts_go_back_in_the_place_of_the_items(kept, contents):
    parts = [signed(CODE), RAN, {"text": "It is 2."}, signed({"text": ""}, "bGFzdA==")]
    side_data, items = kept(*parts)
    assert contents(USER, turn(side_data, items), USER) == [
        GO_ON,
        {"role": "model", "parts": parts},
        GO_ON,
    ]


def test_results_match_the_calls_by_the_providers_own_ids(kept, contents):
    odd = "a/b" * 40
    calls = [signed(call(id=odd, args={"a": 1})), call(id="f2", args={}), call()]
    side_data, items = kept(signed(SEARCH), signed(FOUND), *calls)
    assert contents(USER, turn(side_data, items), *answers(items), USER) == [
        GO_ON,
        {
            "role": "model",
            "parts": [signed(SEARCH), signed(FOUND), *calls[:2], call(args={})],
        },
        {
            "role": "user",
            "parts": [result("0", id=odd), result("1", id="f2"), result("2"), {"text": "Go on."}],
        },
    ]


def test_the_same_id_twice_has_two_results(kept, contents):
    side_data, items = kept(CODE, RAN, call(id="f", args={}), call(id="f", args={}))
    assert contents(USER, turn(side_data, items), *answers(items))[2] == {
        "role": "user",
        "parts": [result("0", id="f"), result("1", id="f")],
    }


def test_a_call_in_pieces_goes_back_whole(kept, contents):
    begun = signed(call(id="f1", willContinue=True))
    piece = {"functionCall": {"partialArgs": [{"jsonPath": "$.a", "stringValue": "x"}]}}
    side_data, items = kept(CODE, RAN, begun, piece)
    (_, model, _) = contents(USER, turn(side_data, items), *answers(items))
    assert model["parts"] == [CODE, RAN, signed(call(id="f1", args={"a": "x"}))]


def test_a_call_that_was_cut_is_left_out(kept, contents):
    begun = call(id="f2", willContinue=True)
    side_data, items = kept(CODE, RAN, call(id="f1", args={}), begun, end="MAX_TOKENS")
    items = [item for item in items if item["status"] != "incomplete"]
    assert contents(USER, turn(side_data, items), *answers(items)) == [
        GO_ON,
        {"role": "model", "parts": [CODE, RAN, signed(call(id="f1", args={}), UNSIGNED)]},
        {"role": "user", "parts": [result("0", id="f1")]},
    ]


def test_an_answer_of_an_old_model_suits_a_new_one(kept, contents):
    side_data, items = kept(CODE, RAN, call(args={}), call(args={}))
    sent = contents(USER, turn(side_data, items), *answers(items))
    assert sent[1]["parts"] == [CODE, RAN, signed(call(args={}), UNSIGNED), call(args={})]


def test_a_call_that_came_unsigned_in_a_signed_answer_stays_so(kept, contents):
    parts = [signed(SEARCH), FOUND, call(args={})]
    side_data, items = kept(*parts)
    sent = contents(USER, turn(side_data, items), *answers(items))
    assert sent[1] == {"role": "model", "parts": parts}


def test_old_models_get_code_and_no_tool_calls(kept, contents):
    old = {"model": "gemini-2.5-pro"}
    side_data, items = kept(CODE, RAN, {"text": "2"})
    sent = contents(turn(side_data, items), USER, **old)
    assert sent[1]["parts"] == [CODE, RAN, {"text": "2"}]
    side_data, items = kept(SEARCH, FOUND, {"text": "2"})
    assert contents(turn(side_data, items), USER, **old)[1]["parts"] == [{"text": "2"}]


def test_a_seal_before_the_turn_signs_no_call_after_it(kept, contents, seals):
    sealed = seals.seal({"on": "call", "signature": "c2ln"})
    side_data, items = kept(CODE, RAN)
    later = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
    sent = contents(
        {"type": "reasoning", "summary": [], "encrypted_content": sealed},
        turn(side_data, items),
        later,
    )
    assert sent[1]["parts"] == [CODE, RAN, signed(call(args={}, id="c"), UNSIGNED)]


@pytest.mark.parametrize(
    "side_data",
    [
        {},
        {"parts": None},
        {"parts": []},
        {"parts": "text"},
        {"parts": [CODE, "text"]},
        {"parts": [CODE, {}]},
        {"parts": [CODE, {"text": None}]},
        {"parts": [CODE, {"text": "a", "thought": False}]},
        {"parts": [CODE, {"text": "a", "thoughtSignature": 1}]},
        {"parts": [{**CODE, **RAN}]},
        {"parts": [CODE, {"fileData": {"fileUri": "https://x.test/"}}]},
        {"parts": [CODE, {"functionCall": {}}]},
        {"parts": [CODE, {"functionCall": {"name": ["weather"]}}]},
        {"parts": [CODE, call(id=7)]},
        {"parts": [CODE, call(args=[])]},
        {"parts": [CODE, call(of_a_later_release=True)]},
        {"content": [{"text": "a"}]},
    ],
)
def test_side_data_of_another_form_is_nothing_and_the_items_are_sent(kept, contents, side_data):
    _, items = kept(CODE, RAN, {"text": "2"})
    assert contents(USER, turn(side_data, items), USER) == [
        GO_ON,
        {"role": "model", "parts": [{"text": "2"}]},
        GO_ON,
    ]


@pytest.mark.parametrize("calls", [[], [call("another")]])
def test_parts_without_the_calls_of_the_items_are_nothing(kept, contents, calls):
    _, items = kept(CODE, RAN, {"text": "2"}, signed(call(id="f1", args={"a": 1})))
    side_data = {"parts": [CODE, RAN, *calls]}
    assert contents(USER, turn(side_data, items), *answers(items)) == [
        GO_ON,
        {"role": "model", "parts": [{"text": "2"}, signed(call(id="f1", args={"a": 1}))]},
        {"role": "user", "parts": [result("0", id="f1")]},
    ]


def test_parts_are_paired_with_the_calls_of_the_items():
    text = MakerTurn({"parts": [CODE, call()]}, (AnswerText("a"),))
    assert own_parts(text, takes_tool_calls=True) == [(CODE, None)]


def test_other_makers_and_stateless_clients_get_the_items(kept, contents, seals):
    side_data, items = kept(CODE, RAN, {"text": "2"})
    assert contents(*items, USER) == [BLANK, {"role": "model", "parts": [{"text": "2"}]}, GO_ON]
    given = WriterInput("command-a", "cohere", [turn(side_data, items), USER], {}, seals=seals)
    assert COHERE.write(given).body["messages"] == [
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Go on."},
    ]
