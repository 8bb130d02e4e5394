"""Gemini's stream becomes exactly one answer, whatever pieces it comes in."""

import json
import random

import pytest

from ws_bridge.upstream.dialects.gemini.signatures import CALL, IMAGE, TEXT, THOUGHT, Signature

USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def event(*parts, **more):
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}
    return {"candidates": [candidate], "modelVersion": "gemini-x", "usageMetadata": USAGE}


def call(name, **more):
    return {"functionCall": {"name": name, **more}}


def opened(seals, item):
    return seals.open(item["encrypted_content"])


# Text and thoughts


def test_figures_are_those_of_the_last_event_that_has_any(play_events):
    begun, last = event({"text": "a"}), event({"text": "b"})
    last["usageMetadata"] = {**USAGE, "totalTokenCount": 9}
    end = {**event(finishReason="STOP"), "usageMetadata": {"trafficType": "ON_DEMAND"}}
    assert play_events(begun, last, end).response["usage"]["total_tokens"] == 9


def test_candidates_need_no_number(play_events):
    events = [event({"text": "a"}), event({"text": "b"}), event({"text": "c"}, finishReason="STOP")]
    for one in events:
        del one["candidates"][0]["index"]
    assert play_events(*events).text == "abc"


def test_text_is_one_message_with_the_wires_model_and_figures(play_events):
    played = play_events(event({"text": "Hel"}), event({"text": "lo"}, finishReason="STOP"))
    assert played.response["status"] == "completed"
    assert played.response["model"] == "gemini-x"
    assert played.text == "Hello"
    assert played.response["usage"]["total_tokens"] == 5
    assert [d.fields["delta"] for d in played.drafts if d.type.endswith("text.delta")] == [
        "Hel",
        "lo",
    ]


def test_thoughts_are_a_summary_before_the_text(play):
    played = play(
        {"text": "Let me", "thought": True}, {"text": " see", "thought": True}, {"text": "4"}
    )
    assert played.types == ["reasoning", "message"]
    assert played.output[0]["summary"] == [{"type": "summary_text", "text": "Let me see"}]


def test_a_signed_thought_is_sealed_where_it_stands(play, seals):
    signed = {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"}
    played = play(signed, {"text": "4"})
    assert opened(seals, played.output[0]) == Signature(THOUGHT, "c2ln").json()


def test_a_signed_text_is_followed_by_its_seal(play, seals):
    played = play({"text": "ab"}, {"text": "cde", "thoughtSignature": "c2ln"}, {"text": "f"})
    assert played.types == ["message", "reasoning", "message"]
    assert opened(seals, played.output[1]) == Signature(TEXT, "c2ln", length=3).json()
    assert played.text == "abcdef"


def test_a_signature_in_an_empty_text_signs_that(play, seals):
    played = play({"text": "ab"}, {"text": "", "thoughtSignature": "c2ln"})
    assert played.types == ["message", "reasoning"]
    assert opened(seals, played.output[1]) == Signature(TEXT, "c2ln").json()


def test_a_signature_alone_is_that_of_an_empty_text(play, seals):
    played = play({"text": "ab"}, {"thoughtSignature": "c2ln"})
    assert opened(seals, played.output[1]) == Signature(TEXT, "c2ln").json()


def test_log_probabilities_go_with_their_text(play_events):
    token = {"token": "a", "tokenId": 1, "logProbability": -0.5}
    result = {"chosenCandidates": [token], "topCandidates": [{"candidates": [token]}]}
    played = play_events(event({"text": "a"}, logprobsResult=result, finishReason="STOP"))
    told = {"token": "a", "bytes": [97], "logprob": -0.5}
    assert played.output[0]["content"][0]["logprobs"] == [{**told, "top_logprobs": [told]}]


# Calls


def test_a_call_without_arguments_and_id_is_a_whole_call(play):
    played = play(call("weather"), tools=[WEATHER])
    (item,) = played.output
    assert (item["name"], item["arguments"], item["status"]) == ("weather", "{}", "completed")
    assert 0 < len(item["call_id"]) <= 64


def test_arguments_as_text_are_taken_as_they_are(play):
    assert play(call("weather", args='{"a": 1}')).output[0]["arguments"] == '{"a": 1}'


def test_an_id_of_the_provider_is_the_clients_too(play):
    assert play(call("weather", id="96c1su3s", args={"a": 1})).output[0]["call_id"] == "96c1su3s"


def test_an_id_that_clients_do_not_take_is_mapped_and_sealed(play, seals):
    played = play(call("weather", id="a/b" * 40), call("weather", id="a/b" * 40))
    assert played.types == ["reasoning", "function_call", "reasoning", "function_call"]
    assert opened(seals, played.output[0]) == Signature(CALL, call_id="a/b" * 40).json()
    assert len(played.output[1]["call_id"]) <= 64


def test_a_signature_of_a_call_is_sealed_before_it(play, seals):
    first = {**call("weather", args={"city": "Paris"}), "thoughtSignature": "c2ln"}
    played = play(first, call("weather", args={"city": "Rome"}))
    assert played.types == ["reasoning", "function_call", "function_call"]
    assert opened(seals, played.output[0]) == Signature(CALL, "c2ln").json()
    assert [json.loads(item["arguments"])["city"] for item in played.output[1:]] == [
        "Paris",
        "Rome",
    ]


def test_a_thought_before_a_signed_call_has_the_calls_seal(play, seals):
    signed = {**call("weather"), "thoughtSignature": "c2ln"}
    played = play({"text": "Hm", "thought": True}, signed)
    assert played.types == ["reasoning", "function_call"]
    assert played.output[0]["summary"][0]["text"] == "Hm"
    assert opened(seals, played.output[0]) == Signature(CALL, "c2ln").json()


def test_half_of_a_character_in_an_id_or_a_signature_breaks_nothing(play):
    broken = {**call("weather", id="a\ud83d"), "thoughtSignature": "\ud83d"}
    played = play(broken, {"text": "a", "thoughtSignature": "\ud83d"})
    assert played.types == ["function_call", "message"]


def test_calls_of_all_tools_of_the_client_are_their_own_items(play):
    tools = [
        {"type": "apply_patch"},
        {"type": "custom", "name": "sql"},
        {"type": "namespace", "name": "crm", "tools": [WEATHER]},
    ]
    operation = {"type": "delete_file", "path": "a"}
    played = play(
        call("apply_patch", args=operation),
        call("sql", args={"content": "select 1"}),
        call("crm__weather", args={}),
        tools=tools,
    )
    assert played.types == ["apply_patch_call", "custom_tool_call", "function_call"]
    assert played.output[0]["operation"] == operation
    assert played.output[1]["input"] == "select 1"
    assert (played.output[2]["namespace"], played.output[2]["name"]) == ("crm", "weather")


def test_a_clients_function_named_like_a_hosted_tool_is_the_clients(play):
    tools = [{"type": "function", "name": "web_search", "parameters": {}}]
    assert play(call("web_search", args={"query": "x"}), tools=tools).types == ["function_call"]


def test_arguments_in_pieces_are_one_call(play, seals):
    begin = {**call("cook", willContinue=True, id="c1"), "thoughtSignature": "c2ln"}
    path = "$.recipe.steps[0]"
    more = {"partialArgs": [{"jsonPath": path, "stringValue": "bo"}], "willContinue": True}
    last = {"partialArgs": [{"jsonPath": path, "stringValue": "il"}], "willContinue": True}
    played = play(begin, {"functionCall": more}, {"functionCall": last}, {"functionCall": {}})
    assert played.types == ["reasoning", "function_call"]
    assert opened(seals, played.output[0]) == Signature(CALL, "c2ln").json()
    assert json.loads(played.output[1]["arguments"]) == {"recipe": {"steps": ["boil"]}}
    assert played.output[1]["call_id"] == "c1"


def test_arguments_in_pieces_are_whole_at_the_end_of_the_answer(play):
    pieces = [{"jsonPath": "$.a", "numberValue": 1}]
    last = {"functionCall": {"partialArgs": pieces, "willContinue": True}}
    (item,) = play(call("cook", willContinue=True), last).output
    assert (item["arguments"], item["status"]) == ('{"a":1}', "completed")


def test_a_call_that_is_cut_in_its_arguments_is_incomplete(play):
    pieces = [{"jsonPath": "$.a", "stringValue": "x"}]
    last = {"functionCall": {"partialArgs": pieces, "willContinue": True}}
    played = play(call("cook", willContinue=True), last, end="MAX_TOKENS")
    assert played.response["status"] == "incomplete"
    assert played.output[0]["status"] == "incomplete"


def test_a_new_call_ends_the_one_in_pieces(play):
    played = play(call("cook", willContinue=True), call("eat", args={"a": 1}))
    assert [item["name"] for item in played.output] == ["cook", "eat"]


def test_a_call_without_a_name_is_no_success(play):
    assert "without a name" in play({"functionCall": {"args": {}}}).error.message


# What the provider runs itself


def test_code_and_all_its_results_are_one_item(play):
    played = play(
        {"executableCode": {"language": "PYTHON", "code": "print(1/0)"}},
        {"text": ""},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "ok\n"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "ZeroDivisionError"}},
        {"text": "It failed."},
    )
    assert played.types == ["code_interpreter_call", "message"]
    code = played.output[0]
    assert (code["code"], code["status"]) == ("print(1/0)", "failed")
    assert [one["logs"] for one in code["outputs"]] == ["ok\n", "ZeroDivisionError"]


def test_code_without_a_result_has_none(play):
    code = play({"executableCode": {"code": "x"}}, {"text": "So."}).output[0]
    assert (code["status"], code["outputs"]) == ("completed", None)


def test_code_that_the_answer_was_cut_in_is_incomplete(play):
    assert (
        play({"executableCode": {"code": "x"}}, end="MAX_TOKENS").output[0]["status"]
        == "incomplete"
    )


def test_a_result_without_code_is_nothing(play):
    assert play({"codeExecutionResult": {"output": "x"}}, {"text": "a"}).types == ["message"]


def test_hosted_calls_are_their_own_items_and_shown_once(play):
    metadata = {"webSearchQueries": ["a", "b"]}
    played = play(
        {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "1", "args": {"queries": ["a", "b"]}}},
        {"toolCall": {"toolType": "URL_CONTEXT", "id": "2", "args": {"urls": ["https://a.b"]}}},
        {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "id": "1", "response": {}}},
        {"toolResponse": {"toolType": "URL_CONTEXT", "response": {}}},
        {"text": "So."},
        groundingMetadata=metadata,
    )
    assert played.types == ["web_search_call", "web_search_call", "message"]
    assert [item["status"] for item in played.output] == ["completed"] * 3
    assert played.output[0]["action"] == {"type": "search", "query": "a", "queries": ["a", "b"]}


def test_a_hosted_tool_of_an_unknown_type_is_an_mcp_call(play):
    tool = {"toolType": "MCP", "id": "1", "toolName": "ask", "args": {"q": 1}}
    played = play(
        {"toolCall": tool},
        {"toolResponse": {"id": "1", "response": {"answer": 2}}},
        {"functionResponse": {"name": "other", "response": {"output": "x"}}},
    )
    assert played.types == ["mcp_call", "mcp_call"]
    first = played.output[0]
    assert (first["name"], first["server_label"], first["arguments"]) == ("ask", "MCP", '{"q":1}')
    assert (first["output"], first["status"]) == ('{"answer":2}', "completed")


def test_a_hosted_call_without_a_response_ends_with_the_answer(play):
    tool = {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["a"]}}}
    assert play(tool, {"text": "x"}).output[0]["status"] == "completed"
    assert play(tool, {"text": "x"}, end="MAX_TOKENS").output[0]["status"] == "failed"


def test_pictures_are_items_and_their_signatures_follow(play, seals):
    blob = {"mimeType": "image/png", "data": "AAAA"}
    draft = {"inlineData": blob, "thought": True}
    played = play(draft, {"text": "See:"}, {"inlineData": blob, "thoughtSignature": "c2ln"})
    assert played.types == ["message", "image_generation_call", "reasoning"]
    assert played.output[1]["result"] == "AAAA"
    expected = Signature(IMAGE, "c2ln", media_type="image/png").json()
    assert opened(seals, played.output[2]) == expected


@pytest.mark.parametrize(
    "part",
    [
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"fileData": {"fileUri": "gs://a/b"}},
        {"somethingNew": {"a": 1}},
        "text",
        {"text": None},
        {"functionCall": "f"},
    ],
)
def test_a_part_that_cannot_be_shown_fails_the_answer(play, part):
    played = play({"text": "a"}, part)
    assert played.error is not None
    assert played.drafts[-1].type == "response.output_text.delta"  # what was said came first


# Ends, errors and other forms


def test_later_events_may_follow_a_finish_reason(play_events):
    early = event({"text": "a"}, finishReason="STOP")
    late = event({"text": "b"}, finishReason="MAX_TOKENS")
    last = {**event({"text": "c"}), "usageMetadata": {**USAGE, "totalTokenCount": 9}}
    played = play_events(early, late, last)
    assert (played.text, played.response["status"]) == ("abc", "incomplete")
    assert played.response["usage"]["total_tokens"] == 9


def test_a_failure_comes_after_what_was_said(play):
    signed = {"text": "a", "thoughtSignature": "c2ln"}
    played = play(signed, end="MALFORMED_FUNCTION_CALL", finishMessage="Malformed call: f(")
    assert (played.error.message, played.error.code) == (
        "Malformed call: f(",
        "MALFORMED_FUNCTION_CALL",
    )
    assert played.drafts[-1].fields["delta"] == "a"


def test_a_stream_without_a_finish_reason_is_cut_off(play_events):
    played = play_events(event({"text": "a"}))
    assert played.error.code == "server_error"
    assert "ended" in played.error.message


def test_only_the_first_candidate_is_read(play_events):
    both = event({"text": "a"}, finishReason="STOP")
    other = {"content": {"parts": [{"text": "z"}]}, "index": 1, "finishReason": "SAFETY"}
    both["candidates"].insert(0, other)
    plain = {"candidates": [{"content": {"parts": [{"text": "y"}]}, "index": 1}]}
    played = play_events(event({"text": "b"}), plain, both, {"candidates": [other]})
    assert (played.text, played.response["status"]) == ("ba", "completed")


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize("error", [ERROR, [ERROR]])
@pytest.mark.parametrize("before", [0, 2])
def test_an_error_keeps_its_words(play_events, error, before):
    played = play_events(*[event({"text": "a"})] * before, error)
    assert (played.error.status, played.error.message) == (503, "The model is overloaded.")
    assert bool(played.drafts) == bool(before)


def test_what_is_no_json_fails_and_what_says_nothing_is_left_out(play_bytes, play_events):
    assert "not JSON" in play_bytes(b"data: {oops\n\n").error.message
    silent = [{}, {"candidates": None}, {"candidates": []}, {"usageMetadata": None}]
    assert play_events(*silent, event({"text": "a"}, finishReason="STOP")).text == "a"


def test_a_refused_prompt_is_filtered(play_events):
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE}
    played = play_events(blocked)
    assert played.response["incomplete_details"] == {"reason": "content_filter"}
    assert played.output == []
    assert played.response["usage"]["input_tokens"] == 3


def test_why_an_answer_is_filtered_is_a_refusal(play_events):
    feedback = {"blockReason": "MODEL_ARMOR", "blockReasonMessage": "Not this."}
    refusal = [{"type": "refusal", "refusal": "Not this."}]
    assert play_events({"promptFeedback": feedback}).output[0]["content"] == refusal
    filtered = event({"text": "a"}, finishReason="SAFETY", finishMessage="Not this.")
    assert play_events(filtered).output[0]["content"][1:] == refusal


def test_json_instead_of_a_stream_is_read(play_bytes):
    one = event({"text": "a"}, finishReason="STOP")
    assert play_bytes(json.dumps(one).encode()).text == "a"
    assert play_bytes(json.dumps([event({"text": "b"}), one]).encode(), 3).text == "ba"
    assert play_bytes(json.dumps([event({"text": "b"}), ERROR]).encode()).error.status == 503
    assert play_bytes(json.dumps(event({"text": "b"})).encode()).error is not None


def test_a_done_marker_of_a_gateway_is_the_end(play_bytes):
    raw = (
        b"data: %b\n\ndata: [DONE]\n\n"
        % json.dumps(event({"text": "a"}, finishReason="STOP")).encode()
    )
    assert play_bytes(raw).text == "a"


# Any stream, in any pieces


PARTS = (
    {"text": "Grüße 🎈"},
    {"text": ""},
    {"text": "x", "thoughtSignature": "c2ln"},
    {"text": "Hm", "thought": True},
    {"functionCall": {"name": "f", "args": {"a": "ü"}}, "thoughtSignature": "c2ln"},
    {"functionCall": {"name": "g"}},
    {"executableCode": {"code": "1"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
    {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "s", "args": {"queries": ["q"]}}},
    {"toolResponse": {"id": "s", "response": {}}},
    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
)
GROUNDED = {
    "webSearchQueries": ["q"],
    "groundingChunks": [{"web": {"uri": "https://a.b", "title": "t"}}],
    "groundingSupports": [{"segment": {"endIndex": 2, "text": "Gr"}, "groundingChunkIndices": [0]}],
}


def skeleton(played):
    """All that does not depend on minted ids and seals."""
    hidden = ("id", "item_id", "call_id", "encrypted_content")

    def bare(value):
        if isinstance(value, dict):
            return {key: bare(one) for key, one in value.items() if key not in hidden}
        return [bare(one) for one in value] if isinstance(value, list) else value

    return [(draft.type, bare(draft.fields)) for draft in played.drafts]


@pytest.mark.parametrize("seed", range(40))
def test_any_stream_in_any_pieces_gives_the_same(play_bytes, seed):
    chance = random.Random(seed)  # noqa: S311 - a seed, no secret
    events = [
        event(*chance.choices(PARTS, k=chance.randint(0, 3))) for _ in range(chance.randint(1, 6))
    ]
    end = chance.choice(["STOP", "MAX_TOKENS", "SAFETY"])
    events.append(event({"text": ""}, finishReason=end, groundingMetadata=GROUNDED))
    ending = chance.choice([b"\n\n", b"\r\n\r\n", b"\r\r"])
    raw = b"".join(b"data: %b%b" % (json.dumps(one).encode(), ending) for one in events)
    whole = play_bytes(raw)
    assert whole.error is None
    assert whole.response["status"] == ("completed" if end == "STOP" else "incomplete")
    assert skeleton(play_bytes(raw, chance.randint(1, 9))) == skeleton(whole)
    cut = raw[: raw.index(b"finishReason")]
    assert play_bytes(cut, chance.randint(1, 50)).error is not None
