"""Schemas as Anthropic takes them."""

from ws_bridge.upstream.dialects.anthropic.schemas import input_schema, output_schema

TEXT = {"type": "string"}


def test_a_tools_schema_is_of_an_object():
    good = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "$defs": {}}
    assert input_schema(good) == good
    assert input_schema({}) == {"type": "object", "properties": {}}
    assert input_schema({"type": None, "properties": None, "required": 7}) == input_schema({})


def test_a_union_at_the_top_becomes_one_object():
    branches = [
        {"properties": {"a": TEXT}, "required": ["a"]},
        {"properties": {"b": TEXT}, "required": ["b"]},
        None,
    ]
    both = {"a": TEXT, "b": TEXT}
    for word in ("anyOf", "oneOf"):
        assert input_schema({word: branches}) == {"type": "object", "properties": both}
    joined = {"type": "object", "properties": both, "required": ["a", "b"]}
    assert input_schema({"allOf": branches}) == joined
    assert input_schema({"anyOf": True}) == input_schema({})


def test_the_schema_of_an_answer_is_closed_all_the_way_down():
    inner = {"type": ["object", "null"], "properties": {"oneOf": TEXT}}
    schema = {
        "type": "object",
        "properties": {"list": {"type": "array", "items": inner}},
        "$defs": {"x": {"oneOf": [TEXT, {"type": "object", "additionalProperties": True}]}},
    }
    closed = {**inner, "additionalProperties": False}
    assert output_schema(schema) == {
        "type": "object",
        "properties": {"list": {"type": "array", "items": closed}},
        "$defs": {"x": {"anyOf": [TEXT, {"type": "object", "additionalProperties": False}]}},
        "additionalProperties": False,
    }


def test_what_cannot_be_enforced_is_said():
    assert output_schema({"type": "integer", "minimum": 1, "description": "Age."}) == {
        "type": "integer",
        "description": "Age.\nminimum: 1",
    }
    assert output_schema({"type": "array", "minItems": 2, "maxItems": 3}) == {
        "type": "array",
        "description": "minItems: 2; maxItems: 3",
    }
    assert output_schema({"type": "array", "minItems": 1}) == {"type": "array", "minItems": 1}


def test_values_are_no_schemas():
    schema = {"enum": [{"minimum": 1}], "default": {"type": "object"}, "const": {"if": 1}}
    assert output_schema(schema) == schema
    assert output_schema(True) is True
