"""Two strict schemas, taken at their word: openai's own event types, and Open Responses.

openai builds its events leniently: a wrong or missing field goes unnoticed. Here the same models
validate strictly. Open Responses asks for more: keys that must be there, others never null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

from openai.types.responses import Response, ResponsesServerEvent, ResponseStreamEvent
from openresponses.types.generated import ResponseResource
from openresponses.types.protocol import StreamingEventAdapter
from pydantic import BaseModel, ValidationError
from support.event_checker import with_known_code

Json = dict[str, Any]
Models = dict[str, type[BaseModel]]


def _models(union: object) -> Models:
    """The union's members by their ``type``: one candidate, so an error names the field."""
    members: tuple[type[BaseModel], ...] = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0]: member for member in members}


# OpenAI's hosted tools, what they cite, and namespaces are outside of Open Responses.
OPENAI_ONLY = re.compile(
    r'"type":\s*"(?:(?!function_)\w+_call|file_citation|web_search|code_interpreter|namespace)"'
)
SOCKET = _models(ResponsesServerEvent)
SSE = _models(ResponseStreamEvent)


def check_event(models: Models, event: Json, text: str) -> None:
    """The text is a valid event of its type, no number read from a string, nothing left out."""
    model = models.get(event["type"])
    assert model is not None, f"unknown event type: {text[:300]}"
    with _readable(text):
        known = with_known_code(event)  # a provider's own code is told as it is
        model.model_validate_json(text if known is event else json.dumps(known), strict=True)
        # Its `error` is another one; an event that it does not know, it lets pass.
        if event["type"] != "error" and not OPENAI_ONLY.search(text):
            StreamingEventAdapter.validate_python(event)


def check_response(response: BaseModel) -> None:
    """What the SDK built from a JSON body has every field that its type requires."""
    text = response.to_json(exclude_unset=True)
    with _readable(text):
        Response.model_validate_json(text, strict=True)
        if not OPENAI_ONLY.search(text):
            ResponseResource.model_validate_json(text)


@contextmanager
def _readable(text: str) -> Iterator[None]:
    """Say which fields, and of what."""
    try:
        yield
    except ValidationError as invalid:
        problems = [(problem["loc"], problem["msg"]) for problem in invalid.errors()]
        message = f"{invalid.title}: {problems}\n{text[:2000]}"
        raise AssertionError(message) from None
