"""JSON schemas of what goes over the wire: the openai package's types, with this server's rules.

``schemas()`` has all of them by name, referring to each other as `#/components/schemas/NAME`, which
is how OpenAPI and AsyncAPI both keep them.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from openai.types import Model
from openai.types.conversations import Conversation, ConversationDeletedResource, ConversationItem
from openai.types.responses import (
    CompactedResponse,
    InputTokenCountResponse,
    Response,
    ResponseInputItem,
    ResponseItem,
    ResponseOutputItem,
    ResponsesServerEvent,
    ResponseSteerAcceptedEvent,
    ResponseSteerFailedEvent,
    ResponseSteerPendingEvent,
    ResponseStreamEvent,
    Tool,
)
from openai.types.responses.responses_client_event import ResponseCreate
from pydantic import BaseModel, TypeAdapter

from contract.code import folded_events, made_events
from ws_bridge.protocol import steering
from ws_bridge.protocol.conversation import MOST_ITEMS
from ws_bridge.protocol.request import STREAM_ID, CreateResponse
from ws_bridge.protocol.response import NULLABLE, Envelope
from ws_bridge.store.ledger import OUTCOMES, TOKEN_COUNTERS

Json = dict[str, Any]

REFS = "#/components/schemas/"
STEERING = (ResponseSteerAcceptedEvent, ResponseSteerPendingEvent, ResponseSteerFailedEvent)
# Unions that stand in many places: one schema each.
UNIONS = {
    "ConversationItem": ConversationItem,
    "InputItem": ResponseInputItem,
    "ListedItem": ResponseItem,
    "OutputItem": ResponseOutputItem,
    "Tool": Tool,
}
MODELS = {
    "CompactedResponse": CompactedResponse,
    "Conversation": Conversation,
    "ConversationDeleted": ConversationDeletedResource,
    "InputTokenCount": InputTokenCountResponse,
    "Model": Model,
    "OpenAiCreate": ResponseCreate,
    "ResponseObject": Response,  # generators have a `Response` of their own
}
# Fields of a create that the bridge reads as any JSON, and that OpenAI's types describe.
OF_OPENAI = (
    *("background_options", "context_management", "conversation", "include", "input", "prompt"),
    *("prompt_cache_options", "reasoning", "text", "tool_choice", "tools"),
)
OPEN_CODE = "A word of the table in §4.3, or a provider's own."
OPEN_REASON = (
    "`max_output_tokens`, `content_filter`, `interrupted`, `steered`, or a provider's own."
)
LANE = {
    "type": "string",
    "pattern": f"^{STREAM_ID.pattern}$",
    "description": "The lane (§2.3). Absent on the default lane, never null.",
}
NUMBER = {
    "type": "integer",
    "minimum": 0,
    "description": "Counts the events of one response from 0, without a gap.",
}


def ref(name: str) -> Json:
    """A reference to one of the schemas."""
    return {"$ref": REFS + name}


@cache
def schemas() -> dict[str, Json]:
    """Everything that the two documents refer to, by name."""
    found = _of_openai()
    created = found.pop("OpenAiCreate")["properties"]
    for name, change in CHANGES.items():
        found[name] = change(found[name])
    own = {
        "CreateResponse": _create(created, found),
        "DeletedResponse": _object(id=TEXT, object={"const": "response"}, deleted={"const": True}),
        "ConversationItemList": _list("ConversationItem"),
        "ConversationUpdate": _object(metadata=METADATA),
        "NewConversation": {
            "type": "object",
            "properties": {
                "items": {"anyOf": [NEW_ITEMS, NULL]},
                "metadata": {"anyOf": [METADATA, NULL]},
            },
        },
        "NewItems": _object(items=NEW_ITEMS),
        "ModelList": _object(object={"const": "list"}, data=_array(ref("Model"))),
        "ResponseItemList": _list("ListedItem"),
        "UsageList": _object(
            object={"const": "list"},
            data=_array(_usage(day=TEXT, model=TEXT)),
            total=_usage(days={"type": "integer", "minimum": 1}),
        ),
        "ResponseStreamEvent": stream_event(stream_events()),
        "ApiError": _error(),
        "ErrorAnswer": _object(error=ref("ApiError")),
    }
    assert not own.keys() & found.keys()
    return dict(sorted((found | own).items()))


def stream_events() -> dict[str, str]:
    """The schema of each type of event that a response's stream can have."""
    names = {kind: model.__name__ for kind, model in _types_of(ResponseStreamEvent).items()}
    types = (made_events() | folded_events()) - steering_events().keys() - {"error"}
    return {kind: names[kind] for kind in sorted(types)}


def steering_events() -> dict[str, str]:
    """The same of the events that answer a steer."""
    return {kind: model.__name__ for model in STEERING for kind in _kinds(model)}


def stream_event(names: dict[str, str]) -> Json:
    """Any of these events."""
    mapping = {kind: REFS + name for kind, name in names.items()}
    return {
        "oneOf": [ref(name) for name in sorted({*names.values()})],
        "discriminator": {"propertyName": "type", "mapping": mapping},
        "description": "One event. Ignore types that are not named here: they are a provider's.",
    }


def used(document: Any, all_schemas: dict[str, Json]) -> dict[str, Json]:
    """The schemas that a document refers to, directly or around."""
    found: dict[str, Json] = {}
    waiting = list(_refs(document))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = all_schemas[name]
            waiting += _refs(found[name])
    return dict(sorted(found.items()))


# OpenAI's types


def _of_openai() -> dict[str, Json]:
    events = {name: _types_of(ResponseStreamEvent)[kind] for kind, name in stream_events().items()}
    wanted = MODELS | UNIONS | events | {model.__name__: model for model in STEERING}
    inputs = [(name, "validation", TypeAdapter(kind)) for name, kind in wanted.items()]
    tops, shared = TypeAdapter.json_schemas(inputs, ref_template=REFS + "{model}")
    parts = shared["$defs"]
    own_names = {
        schema["$ref"].removeprefix(REFS): name
        for (name, _), schema in tops.items()
        if "$ref" in schema
    }
    new_names = {name: own_names.get(name) or _short(name) for name in parts}
    assert len({*new_names.values()}) == len(new_names)
    found = {new_names[name]: _clean(part, new_names) for name, part in parts.items()}
    unnamed = {name: schema for (name, _), schema in tops.items() if name not in found}
    found |= {name: _clean(schema, new_names) for name, schema in unnamed.items()}
    unions = {_members(found[name]): name for name in UNIONS}
    return {name: _named(schema, unions, name) for name, schema in found.items()}


def _short(name: str) -> str:
    """`openai__types__responses__web_search_tool__UserLocation` → `WebSearchToolUserLocation`."""
    *modules, kind = name.split("__")
    module = "".join(word.capitalize() for word in modules[-1].split("_")) if modules else ""
    return kind if module == kind else module + kind


def _clean(schema: Any, names: dict[str, str]) -> Any:
    """Without pydantic's titles and null defaults, with short names."""
    if isinstance(schema, list):
        return [_clean(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned: Json = {}
    for key, value in schema.items():
        if key == "properties":
            cleaned[key] = {name: _clean(each, names) for name, each in value.items()}
        elif key == "$ref":
            name = value.removeprefix(REFS)
            cleaned[key] = REFS + names.get(name, name)
        elif key == "description":
            cleaned[key] = " ".join(value.split())
        elif not (key == "title" or (key, value) in BARREN):
            cleaned[key] = _clean(value, names)
    return cleaned


BARREN = (("default", None), ("additionalProperties", True))


def _members(schema: Json) -> tuple[str, ...]:
    return tuple(str(one) for one in schema.get("anyOf", ()))


def _named(schema: Any, unions: dict[tuple[str, ...], str], own: str = "") -> Any:
    """The schema with a reference in the place of each union that has a name."""
    if isinstance(schema, list):
        return [_named(each, unions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    name = unions.get(_members(schema)) if "anyOf" in schema else None
    if name is not None and name != own:
        return ref(name)
    return {key: _named(value, unions) for key, value in schema.items()}


def _types_of(union: Any) -> dict[str, type[BaseModel]]:
    """The members of a union by the values of their `type`."""
    members = get_args(get_args(union)[0])
    return {kind: model for model in members for kind in _kinds(model)}


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    return get_args(model.model_fields["type"].annotation)


def _refs(document: Any) -> Iterator[str]:
    yield from re.findall(rf"'{REFS}(\w+)'", str(document))


# This server's rules


TEXT: Json = {"type": "string"}
NULL: Json = {"type": "null"}
FLAG: Json = {"type": "boolean"}
METADATA: Json = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 512},
    "propertyNames": {"maxLength": 64},
    "maxProperties": 16,
}
NEW_ITEMS: Json = {"type": "array", "items": ref("InputItem"), "maxItems": MOST_ITEMS}


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": [*properties], "properties": properties}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _list(item: str) -> Json:
    ends = {"anyOf": [TEXT, NULL]}
    return _object(
        object={"const": "list"}, data=_array(ref(item)), first_id=ends, last_id=ends, has_more=FLAG
    )


def _error() -> Json:
    nullable = {"anyOf": [TEXT, NULL]}
    about = "A word of the tables in §4.2, or a provider's own."
    return _object(message=TEXT, type=TEXT, param=nullable, code={**nullable, "description": about})


def _create(openais: Json, found: dict[str, Json]) -> Json:
    """The fields that the bridge reads, of the types of OpenAI where it reads any JSON."""
    read = CreateResponse.model_json_schema(ref_template=REFS + "{model}")["properties"]
    fields = {
        name: openais[name] if name in OF_OPENAI else _clean(schema, {})
        for name, schema in read.items()
    }
    fields["input"] = {"anyOf": [TEXT, _array(ref("InputItem"))]}
    fields["instructions"] = {"anyOf": [TEXT, _array(ref("InputItem")), NULL]}
    fields["model"] = TEXT
    fields["client_metadata"] = {
        "anyOf": [{"type": "object"}, NULL],
        "description": "Read for the trace of the create (§2.2), and passed on to no provider.",
    }
    fields["stream_options"] = {"anyOf": [{"type": "object"}, NULL]}
    for name, schema in fields.items():
        if "null" not in str(schema):
            fields[name] = _nullable(schema) if name not in ("model", "input") else schema
    assert not {*_refs(fields)} - found.keys()
    return {
        "type": "object",
        "required": ["model"],
        "properties": fields,
        "description": "§2.2. Null means absent; unknown fields are ignored.",
    }


def _nullable(schema: Json) -> Json:
    default = {name: schema[name] for name in schema if name == "default"}
    return default | {"type": [schema["type"], "null"]}


def _response(schema: Json) -> Json:
    """Every key of §3.4 is there, and only some of them may be null."""
    always = [*Envelope("resp_1", "m", 1).snapshot("in_progress")]
    fields = dict(schema["properties"])
    for name in ("frequency_penalty", "presence_penalty"):
        fields[name] = {"type": "number"}
    fields["store"] = FLAG
    for name in always:
        if name not in NULLABLE:
            fields[name] = _without_null(fields[name])
    for name in ("model", "service_tier", "truncation"):
        fields[name] = TEXT
    fields["completed_at"] = {"anyOf": [{"type": "integer"}, NULL]}
    fields["created_at"] = {"type": "integer"}
    # What the client asked for, as it came: tools and items may be a provider's own.
    fields["tool_choice"] = {"anyOf": [TEXT, {"type": "object"}]}
    fields["tools"] = _array({"type": "object"})
    fields["instructions"] = {"anyOf": [TEXT, _array({"type": "object"}), NULL]}
    return {**schema, "required": always, "properties": fields}


def _without_null(schema: Json) -> Json:
    """What is left of a union without null."""
    left = [one for one in schema.get("anyOf", ()) if one != NULL]
    if not left:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return rest | left[0] if len(left) == 1 else {**rest, "anyOf": left}


def _event(schema: Json) -> Json:
    """Numbered, and on a lane."""
    fields = schema["properties"] | {"sequence_number": NUMBER, "stream_id": LANE}
    return {**schema, "properties": fields}


def _gap(schema: Json) -> Json:
    """An event that stands for lost ones says so."""
    number: Json = {"type": "integer"}
    gap = {
        **_object(after=number, until=number),
        "description": "The event stands for those after `after`, up to `until`: §7.4.",
    }
    return _with(_event(schema), gap=gap)


def _with(schema: Json, **fields: Json) -> Json:
    return {**schema, "properties": schema["properties"] | fields}


def _failed_steer(schema: Json) -> Json:
    code = {"type": "string", "enum": [*steering.MESSAGES]}
    about = {"description": "Why (§4.4)."}
    error = _object(type=TEXT, code=code, message=TEXT) | about
    handed_back = {"description": "The input as it came."}
    steer = _object(previous_response_id=TEXT, input=handed_back)
    steer["properties"]["id"] = {**TEXT, "description": "If it had been accepted before."}
    return _with(_event(schema), error=error, steer=steer)


CHANGES = {
    **dict.fromkeys((*stream_events().values(), *steering_events().values()), _event),
    "ResponseInProgressEvent": _gap,
    "ResponseSteerFailedEvent": _failed_steer,
    "ResponseObject": _response,
    "ResponseError": lambda schema: _with(schema, code={**TEXT, "description": OPEN_CODE}),
    "IncompleteDetails": lambda schema: _with(schema, reason={**TEXT, "description": OPEN_REASON}),
}

assert {*_types_of(ResponsesServerEvent)} >= {*stream_events(), *steering_events()}


def _usage(**about: Json) -> Json:
    """What was used; responses and tokens are counts, cost is in USD."""
    counts = ("responses", *OUTCOMES, *TOKEN_COUNTERS)
    figures = {name: {"type": "integer", "minimum": 0} for name in counts}
    cost = {"type": "number", "minimum": 0}
    return _object(object={"const": "usage"}, **about, **figures, cost_usd=cost)
