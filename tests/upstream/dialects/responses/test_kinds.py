"""The tables of a Responses stream agree with the official types and with the table of items."""

import typing

import pydantic
import pytest
from openai.types.responses import ResponseOutputItem

from ws_bridge.protocol.output.items import ITEMS, PARTS
from ws_bridge.upstream.dialects.responses.kinds import (
    NEEDED,
    STATUSES,
    TEXTS,
    WITHOUT_STATUS,
    in_official_words,
    owner_of,
    type_of,
)


def official_types(annotation):
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from official_types(inner)


STATUS_FIELDS = {
    typing.get_args(model.model_fields["type"].annotation)[0]: model.model_fields["status"]
    for model in official_types(ResponseOutputItem)
    if "status" in model.model_fields and "type" in model.model_fields
}


@pytest.mark.parametrize("kind", STATUSES)
def test_statuses_are_the_official_ones(kind):
    field = STATUS_FIELDS[kind]
    annotation = field.annotation
    words = annotation if field.is_required() else typing.get_args(annotation)[0]
    assert set(STATUSES[kind]) == set(typing.get_args(words))
    assert (kind in WITHOUT_STATUS) is not field.is_required()


def test_no_official_item_with_a_status_is_missing():
    assert STATUS_FIELDS.keys() == STATUSES.keys()


def test_each_part_and_each_text_of_an_item_has_a_line():
    assert {kind.part for kind in TEXTS.values()} - {""} == PARTS.keys()
    own = {kind.text[0] for kind in ITEMS.values() if kind.text is not None}
    assert own <= TEXTS.keys()


@pytest.mark.parametrize(
    ("item", "more"),
    [
        ({"type": "program_output", "status": "in_progress"}, {"status": "incomplete"}),
        ({"type": "program_output", "status": "completed"}, {}),
        ({"type": "message", "role": "assistant", "content": []}, {"status": "in_progress"}),
        ({"type": "message", "content": None, "status": "x"}, {"status": "in_progress"}),
        ({"type": "reasoning", "summary": []}, {}),
        ({"type": "reasoning", "summary": [], "status": "thinking"}, {"status": "in_progress"}),
        ({"type": "time_travel_call", "status": "odd"}, {}),
        ({}, {}),
    ],
)
def test_an_item_that_begins_is_valid(item, more):
    blanks = {k: v for k, v in NEEDED.get(item.get("type"), {}).items() if item.get(k) is None}
    assert in_official_words(item) == item | blanks | more


def test_an_unknown_part_stands_in_a_message():
    assert [owner_of(part) for part in ("summary_text", "refusal", "odd")] == [
        "reasoning",
        "message",
        "message",
    ]


def test_a_type_that_is_no_text_is_of_no_kind():
    assert [type_of({"type": kind}) for kind in ("x", ["x"], {}, None)] == ["x", "", "", ""]
    assert type_of({}, "usual") == "usual"
    assert in_official_words({"type": ["x"]}) == {"type": ["x"]}
