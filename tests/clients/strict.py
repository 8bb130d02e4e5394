"""The SDK's own event types, taken at their word.

openai builds its events leniently: a wrong or missing field goes unnoticed. Here the same models
validate strictly, so every frame and every server-sent event is what the types promise.
"""

from __future__ import annotations

from typing import Any, get_args

from openai.types.responses import Response, ResponsesServerEvent, ResponseStreamEvent
from pydantic import BaseModel, ValidationError

Json = dict[str, Any]
Models = dict[str, type[BaseModel]]


def _models(union: object) -> Models:
    """The union's members by their ``type``: one candidate, so an error names the field."""
    members: tuple[type[BaseModel], ...] = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0]: member for member in members}


SOCKET = _models(ResponsesServerEvent)
SSE = _models(ResponseStreamEvent)


def check_event(models: Models, event: Json, text: str) -> None:
    """The text is a valid event of its type, no number read from a string, nothing left out."""
    model = models.get(event["type"])
    assert model is not None, f"unknown event type: {text[:300]}"
    _validate(model, text)


def check_response(response: BaseModel) -> None:
    """What the SDK built from a JSON body has every field that its type requires."""
    _validate(Response, response.to_json(exclude_unset=True))


def _validate(model: type[BaseModel], text: str) -> None:
    try:
        model.model_validate_json(text, strict=True)
    except ValidationError as invalid:
        problems = [(problem["loc"], problem["msg"]) for problem in invalid.errors()]
        message = f"{model.__name__}: {problems}\n{text[:2000]}"
        raise AssertionError(message) from None
