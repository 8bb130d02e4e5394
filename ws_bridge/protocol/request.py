"""A `response.create` as values: which fields there are, what type each has, what is refused.

Rule 1: only the documented fields of ``POST /v1/responses`` exist; all others vanish here, so that
``api_base``, ``api_key``, ``extra_headers``, ``mock_response`` and the like are dropped.
Rule 2: null means absent. A wrong type is refused with the name of its field.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Container, Iterable
from functools import cached_property
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from ws_bridge.errors import (
    InvalidRequest,
    InvalidStreamId,
    MissingParameter,
    UnsupportedParameter,
)
from ws_bridge.protocol.compaction import threshold_of
from ws_bridge.protocol.history import PROVIDER_TURN
from ws_bridge.protocol.json_limits import USUAL, JsonLimits, check_limits, read_object
from ws_bridge.types import Item, Json

# Outputs of tools that a provider ran itself: where it needs no call id, theirs is null.
NEEDS_NO_CALL = frozenset({"tool_search_output"})
REFERENCE = "item_reference"
STREAM_ID = re.compile(r"[A-Za-z0-9_.\-]{1,256}")

# Of draft-ietf-httpapi-idempotency-key-header; Stripe's have at most 255 characters, too.
IdempotencyKey = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")
]
MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]

# In seconds: a background response is to be complete after so long at the latest.
COMPLETION_WINDOWS = {"soonest": 0, "2h": 2 * 3600, "8h": 8 * 3600}
# Not the processing that the long windows are a discount of.
OTHER_TIERS = frozenset({"flex", "priority", "scale"})

# Fields that go to the provider as the client sent them. All else is the bridge's business.
PASSED_ON = (
    "context_management",
    "include",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)

# Of `client_metadata`: there Codex has the headers of W3C Trace Context on a socket, which has one
# head for many creates.
IN_METADATA = "ws_request_header_"
TRACE_HEADERS = ("traceparent", "tracestate")

# What may differ between a create and the same one that is sent again.
NOT_COMPARED = {"input", "idempotency_key", "stream", "stream_options"}


class BackgroundOptions(BaseModel):
    """How a background response may be run; nothing else of it is kept."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    completion_window: Literal["soonest", "2h", "8h"] | None = None
    continuation_id: str | None = None

    @property
    def is_long(self) -> bool:
        """Whether the client has time."""
        return COMPLETION_WINDOWS[self.completion_window or "soonest"] > 0


def _input(value: Any) -> str | list[Item]:
    """Text, or objects in a list: as they are, for of 120,000 a copy would take long."""
    if isinstance(value, str) or (isinstance(value, list) and all(map(_is_object, value))):
        return value
    raise PydanticCustomError("input", "expected a string or a list of objects")


def _is_object(value: Any) -> bool:
    return type(value) is dict


def _trace_headers(value: Any) -> dict[str, str]:
    """The trace in `client_metadata`, by the names of the headers; all else vanishes."""
    given = value if isinstance(value, dict) else {}
    found = {name: given.get(IN_METADATA + name) for name in TRACE_HEADERS}
    return {name: text for name, text in found.items() if isinstance(text, str)}


class CreateResponse(BaseModel):
    """The fields of one create, of any transport; frozen, nulls dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    model: str | None = None
    input: Annotated[str | list[Item], PlainValidator(_input)] = Field(default_factory=list)
    previous_response_id: str | None = None
    store: StrictBool = True
    stream: StrictBool = False
    background: StrictBool = False
    background_options: BackgroundOptions | None = None
    generate: StrictBool = True
    conversation: str | Json | None = None
    idempotency_key: IdempotencyKey | None = None
    # In no dump: it belongs to one request, and is neither compared nor stored.
    client_metadata: Annotated[dict[str, str], PlainValidator(_trace_headers)] = Field(
        default_factory=dict, exclude=True
    )

    context_management: list[Json] | None = None
    include: list[str] | None = None
    instructions: str | list[Item] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    parallel_tool_calls: StrictBool | None = None
    prompt: Json | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Json | None = None
    prompt_cache_retention: str | None = None
    reasoning: Json | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    stream_options: Json | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    text: Json | None = None
    tool_choice: str | Json | None = None
    tools: list[Json] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None

    def items(self) -> tuple[Item, ...]:
        """The input as items: a string is one user message; see ``typed``."""
        if isinstance(self.input, str):
            return ({"type": "message", "role": "user", "content": self.input},)
        return tuple(typed(item) for item in self.input)

    @cached_property
    def referenced(self) -> frozenset[str]:
        """The ids of the items that the input refers to."""
        return frozenset() if isinstance(self.input, str) else referenced(self.input)

    @cached_property
    def digest(self) -> str:
        """Of what is asked for, but for how the answer is sent; without the key it says nothing.

        A field that a release adds changes none, as long as it is left out. A copy keeps it.
        """
        key = (self.idempotency_key or "").encode()
        asked = self.model_dump(exclude_defaults=True, exclude=NOT_COMPARED) | {"input": self.input}
        return hmac.digest(key, orjson.dumps(asked, option=orjson.OPT_SORT_KEYS), "sha256").hex()

    def with_input(self, items: list[Item]) -> CreateResponse:
        """The same create with another input."""
        other = self.model_copy(update={"input": items})
        other.__dict__.pop("referenced", None)  # the copy of a cached property is a stale one
        return other

    def passed_on(self) -> Json:
        """The options for the provider, nulls left out."""
        values = ((name, getattr(self, name)) for name in PASSED_ON)
        return {name: value for name, value in values if value is not None}

    def background_options_passed_on(self) -> Json:
        """For a provider that runs the response in its own background mode, nulls left out."""
        options = self.background_options
        return options.model_dump(exclude_none=True) if options and self.background else {}


def typed(item: Item) -> Item:
    """The item with its type: without one it is a message, or a bare id that names an item."""
    if item.get("type") is not None:
        return item
    is_bare = "id" in item and "role" not in item and "content" not in item
    return {**item, "type": REFERENCE if is_bare else "message"}


def referenced(items: Iterable[Item]) -> frozenset[str]:
    """The ids of the items that these refer to."""
    return frozenset(item["id"] for item in map(typed, items) if item["type"] == REFERENCE)


def parse_frame(text: str | bytes, kinds: Container[str], shape: JsonLimits = USUAL) -> Json:
    """The frame of a text message, of one of these types. Raises ``InvalidRequest``."""
    frame = read_object(text, shape, "message")
    kind = frame.get("type")
    if not isinstance(kind, str):
        raise InvalidRequest("Missing required parameter: 'type'.", param="type")
    if kind not in kinds:
        raise InvalidRequest(f"Unknown message type '{kind[:100]}'.", param="type")
    return frame


def flat(frame: Json) -> Json:
    """The create's fields: flat as documented, or nested as early servers took them."""
    nested = frame.get("response")
    if isinstance(nested, dict) and "model" not in frame and "input" not in frame:
        return nested
    return frame


def parse_create(body: Json, default_model: str | None = None) -> CreateResponse:
    """Read the body of an HTTP create, or of a flat `response.create` frame.

    The caller has checked its shape (``check_limits``).
    Raises ``InvalidRequest`` (with ``param``) for anything that cannot be served.
    """
    present = {key: value for key, value in body.items() if value is not None}
    if default_model is not None:
        present.setdefault("model", default_model)
    options = present.get("prompt_cache_options")
    if isinstance(options, dict) and options.get("prewarm") is True:
        present["generate"] = False
    try:
        request = CreateResponse.model_validate(present)
    except ValidationError as invalid:
        raise _refusal(invalid.errors(include_url=False)[0]) from None
    _check(request)
    return request


def check_depth(body: Json) -> None:
    """Refuse nesting beyond the usual limit. Raises as ``check_limits``."""
    check_limits(body, USUAL)


def _refusal(error: ErrorDetails) -> InvalidRequest:
    location = error["loc"]
    # Elsewhere the deeper places are ours: of a union's branch, of a list.
    is_named = location[0] == "background_options"
    name = ".".join(map(str, location)) if is_named else str(location[0])
    return InvalidRequest(f"Invalid value for '{name}': {error['msg']}.", param=name)


def _check(request: CreateResponse) -> None:
    """Rules that hold between fields, and inside items."""
    if request.model is None or not request.model:
        raise MissingParameter("model")
    if request.previous_response_id is not None and request.conversation is not None:
        raise InvalidRequest(
            "'previous_response_id' and 'conversation' exclude each other.", param="conversation"
        )
    threshold_of(request.context_management or ())
    if request.background and not request.store:
        raise UnsupportedParameter("'background' needs 'store'.", param="background")
    if request.idempotency_key is not None and not request.store:
        raise UnsupportedParameter("'idempotency_key' needs 'store'.", param="idempotency_key")
    if request.background_options is not None and request.background_options.is_long:
        _check_long_window(request)
    goes_on = request.previous_response_id is not None or request.conversation is not None
    if request.input == [] and request.generate and not goes_on:
        raise MissingParameter("input")
    for index, item in enumerate(request.items()):
        check_item(item, f"input[{index}]")
    _ = request.referenced  # looked up where large inputs are read: beside the event loop
    if request.idempotency_key is not None:
        _ = request.digest


def _check_long_window(request: CreateResponse) -> None:
    """What OpenAI's documentation requires of a long window."""
    place = "background_options.completion_window"
    needs = {
        "'background' to be true": request.background,
        "'stream' to be false": not request.stream,
        "the standard 'service_tier'": request.service_tier not in OTHER_TIERS,
    }
    if lacking := [need for need, is_met in needs.items() if not is_met]:
        raise InvalidRequest(
            f"Invalid value for '{place}': only 'soonest' is possible here; "
            f"a longer window needs {lacking[0]}.",
            param=place,
        )


def check_item(item: Item, where: str) -> None:
    """Refuse an item that no provider could read. Raises ``InvalidRequest``."""
    kind = item["type"]
    if not isinstance(kind, str):
        raise InvalidRequest(f"Invalid type for '{where}.type': expected a string.", param="input")
    if kind == PROVIDER_TURN:
        raise InvalidRequest(f"Invalid value for '{where}.type': '{kind}'.", param="input")
    if kind == "message":
        _check_message(item, where)
    elif kind == REFERENCE:
        if not isinstance(item.get("id"), str):
            raise InvalidRequest(
                f"Invalid type for '{where}.id': expected a string.", param="input"
            )
    elif item.get("call_id") is None and kind in NEEDS_NO_CALL:
        return
    elif kind.endswith("_output") and "call_id" in item and not isinstance(item["call_id"], str):
        raise InvalidRequest(
            f"Invalid type for '{where}.call_id': expected a string.", param="input"
        )


def _check_message(item: Item, where: str) -> None:
    if not isinstance(item.get("role"), str):
        raise InvalidRequest(f"Missing required parameter: '{where}.role'.", param="input")
    content = item.get("content")
    parts_ok = isinstance(content, list) and all(isinstance(part, dict) for part in content)
    if not isinstance(content, str) and not parts_ok:
        raise InvalidRequest(
            f"Invalid value for '{where}.content': expected a string or a list of objects.",
            param="input",
        )


def parse_stream_id(body: Json) -> str | None:
    """The lane a frame names; None is the default lane. Raises ``InvalidStreamId``."""
    lane = body.get("stream_id")
    if lane is None:
        return None
    if not isinstance(lane, str) or not STREAM_ID.fullmatch(lane):
        raise InvalidStreamId
    return lane
