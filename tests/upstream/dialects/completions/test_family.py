"""Text completions as they come over the wire."""

import orjson
import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.completions import FAMILY


def chunk(text, finish=None):
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    return {"object": "text_completion", "model": "instruct-2", "choices": [choice], "usage": None}


USAGE = {
    "object": "text_completion",
    "choices": [],
    "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
}


def framed(*chunks, end=b"data: [DONE]\n\n"):
    return b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in chunks) + end


def response(wire, size=7):
    reader = FAMILY.reader(ReaderInput(provider="text-completion-openai"))
    drafts = []
    for at in range(0, len(wire), size):
        drafts += reader.feed(wire[at : at + size])
    while not reader.is_over:
        drafts += reader.finish()
    return drafts[-1].fields["response"]


def said(answer):
    return [part["text"] for item in answer["output"] for part in item["content"]]


@pytest.mark.parametrize(("finish", "status"), [("stop", "completed"), ("length", "incomplete")])
def test_a_stream_is_an_answer(finish, status):
    answer = response(framed(chunk("Once"), chunk(" upon"), chunk("", finish), USAGE))
    assert said(answer) == ["Once upon"]
    assert (answer["status"], answer["model"]) == (status, "instruct-2")
    assert answer["usage"]["total_tokens"] == 5


def test_an_answer_in_one_piece():
    assert said(response(orjson.dumps(chunk("Once upon", "stop")))) == ["Once upon"]


@pytest.mark.parametrize(
    "wire",
    [
        framed(chunk("Once"), end=b""),
        framed({"error": {"message": "No.", "code": "overloaded"}}),
    ],
)
def test_a_stream_without_its_end_is_no_answer(wire):
    with pytest.raises(UpstreamError):
        response(wire)
