"""JSON schemas as Anthropic takes them (pure).

Rule 1: a tool's schema is of an object; what it says beside that stays.
Rule 2: the schema of an answer is closed, and has the words that Anthropic can enforce. The others
are said in the description: the model reads them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.anthropic.blocks import json_text

UNIONS = ("anyOf", "oneOf", "allOf")
MERGED = frozenset({*UNIONS, "required"})
# Words that constrained decoding does not know, as Anthropic's own SDK takes them out.
NOT_ENFORCED = frozenset(
    {
        *("maxItems", "uniqueItems", "contains", "minContains", "maxContains", "prefixItems"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "minProperties", "maxProperties"),
        *("patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"),
        *("unevaluatedProperties", "if", "then", "else", "not"),
    }
)
SCHEMAS_BY_NAME = frozenset({"properties", "$defs", "definitions"})
MOST_ENFORCED_ITEMS = 1  # `minItems`


def input_schema(parameters: Mapping[str, Any]) -> Json:
    """The schema of a tool's input: an object, without a union at its top."""
    schema = {key: value for key, value in parameters.items() if key not in MERGED}
    properties = _properties(parameters)
    required = _list(parameters, "required")
    for word in UNIONS:
        branches = [one for one in _list(parameters, word) if isinstance(one, dict)]
        for branch in branches:
            properties = {**_properties(branch), **properties}
            if word == "allOf" or len(branches) == 1:
                required += [name for name in _list(branch, "required") if name not in required]
    schema |= {"type": "object", "properties": properties}
    return schema | ({"required": required} if required else {})


def output_schema(schema: Any) -> Any:
    """The schema of an answer, all the way down; it allows nothing that the given one does not."""
    if isinstance(schema, list):
        return [output_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    fitted: Json = {}
    notes = []
    for word, value in schema.items():
        if word in NOT_ENFORCED or (word == "minItems" and not _is_enforced(value)):
            notes.append(f"{word}: {json_text(value)}")
        elif word in SCHEMAS_BY_NAME and isinstance(value, dict):
            fitted[word] = {name: output_schema(one) for name, one in value.items()}
        elif word in (*UNIONS, "items"):
            fitted["anyOf" if word == "oneOf" else word] = output_schema(value)
        else:
            fitted[word] = value
    if notes:
        described = str(schema.get("description") or "")
        fitted["description"] = f"{described}\n{'; '.join(notes)}".lstrip("\n")
    kinds = schema.get("type")
    if "properties" in schema or "object" in (kinds if isinstance(kinds, list) else [kinds]):
        fitted["additionalProperties"] = False
    return fitted


def _properties(schema: Mapping[str, Any]) -> Json:
    properties = schema.get("properties")
    return dict(properties) if isinstance(properties, dict) else {}


def _list(schema: Mapping[str, Any], word: str) -> list[Any]:
    value = schema.get(word)
    return list(value) if isinstance(value, list) else []


def _is_enforced(value: Any) -> bool:
    return type(value) is int and value <= MOST_ENFORCED_ITEMS
