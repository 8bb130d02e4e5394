"""The HTTP side as an OpenAPI document."""

import json
from collections.abc import Iterable
from typing import Any

import ws_bridge
from contract.errors import of_status
from contract.operations import OPERATIONS, TAGS, Body, Operation
from contract.page import ROOT
from contract.schemas import ref, schemas, used

Json = dict[str, Any]

FILE = ROOT / "ws_bridge/server/http/openapi.json"
INTRODUCTION = """\
OpenAI's Responses API over HTTP, as this server speaks it. Sections (§) are those of \
docs/protocol.md, which says all of it in words. The socket, `GET /v1/responses` with an upgrade, \
is described by docs/asyncapi.yaml.

The schemas are those of OpenAI's own Python package, with what this server promises beyond them. \
Ignore fields, events, items and codes that are not named here: they are a provider's. Unknown \
fields and query parameters of requests are ignored.

Every request below `/v1/` and to `/metrics` needs a key, unless the server has none and serves \
its own machine only. A page of an allowed origin may ask `OPTIONS` of every path below `/v1/` \
without a key (§1.2). Other methods are 405 and other paths 404, in the form of all errors."""
HEADERS = {
    "RequestId": {
        "description": "The client's own id of the request, or one that the server made.",
        "required": True,
        "schema": {"type": "string"},
    },
    "RetryAfter": {
        "description": "Seconds, at least 1. With this server's 429 and 503, and with a provider's "
        "error that had one.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "ShouldRetry": {
        "description": "With `insufficient_quota`: no further attempt helps until the budget has "
        "room again.",
        "schema": {"const": "false"},
    },
    "SequenceNumber": {
        "description": "The number of the last event that the snapshot has: the next `after`. A "
        "stream has none.",
        "schema": {"type": "integer", "minimum": -1},
    },
}
REQUEST_ID_GIVEN = {
    "name": "x-request-id",
    "in": "header",
    "description": "An id of the client's own for the request, of `A-Z a-z 0-9 . _ : -`. It comes "
    "back with the answer, and stands in the server's log. Another one is replaced.",
    "schema": {"type": "string", "maxLength": 128},
}
SECURITY = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of the server's operator. A response or conversation belongs to the "
        "key that made it; to every other key it does not exist. A key in the query is refused.",
    }
}


def document() -> Json:
    """The document, with the schemas that it refers to."""
    paths: dict[str, Json] = {}
    for tag, tagged in TAGS.items():
        for operation in tagged:
            described = {"tags": [tag], **_described(operation)}
            paths.setdefault(operation.path, {})[operation.method.lower()] = described
    statuses = sorted({status for operation in OPERATIONS for status in operation.errors})
    responses = {_name(status): _refusal(status) for status in statuses}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ws-bridge",
            "version": ws_bridge.__version__,
            "description": INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The server that gave this document."}],
        "security": [{"key": []}],
        "tags": [{"name": tag} for tag in TAGS],
        "paths": paths,
        "components": {
            "schemas": used((paths, responses), schemas()),
            "responses": responses,
            "parameters": {"RequestId": REQUEST_ID_GIVEN},
            "headers": HEADERS,
            "securitySchemes": SECURITY,
        },
    }


def text(whole: Json) -> str:
    """The document as it is kept: a line for each path and each component."""
    lines = ["{"]
    parts = whole | {"components": None}
    for name, part in parts.items():
        comma = "" if name == "components" else ","
        if name in ("paths", "components"):
            lines += [f'"{name}": {{', *_lines(whole[name], name), "}" + comma]
        else:
            lines.append(f'"{name}": {_compact(part)}{comma}')
    return "\n".join([*lines, "}", ""])


def _lines(parts: Json, of: str) -> Iterable[str]:
    deep = of == "components"
    for place, (name, part) in enumerate(parts.items(), 1):
        comma = "," if place < len(parts) else ""
        if deep:
            yield f"{_compact(name)}: {{"
            yield from _lines(part, name)
            yield "}" + comma
        else:
            yield f"{_compact(name)}: {_compact(part)}{comma}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _described(operation: Operation) -> Json:
    described: Json = {"operationId": operation.name, "summary": operation.summary}
    if operation.about:
        described["description"] = operation.about
    if operation.is_open:
        described["security"] = []
    parameters = [dict(one) for one in operation.parameters]
    if not operation.is_open:
        parameters.append({"$ref": "#/components/parameters/RequestId"})
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        content = {"application/json": {"schema": ref(operation.body)}}
        described["requestBody"] = {"required": operation.needs_body, "content": content}
    refusals = {str(status): _refused(status) for status in operation.errors}
    described["responses"] = _answers(operation) | refusals
    if operation.asks_provider:
        described["responses"]["default"] = {
            "description": "A provider's own status, with its code and message.",
            "headers": _headers("RequestId", "RetryAfter"),
            "content": {"application/json": {"schema": ref("ErrorAnswer")}},
        }
    return described


def _answers(operation: Operation) -> Json:
    answers: Json = {}
    for status, about, bodies in operation.answers:
        names = ("RequestId", *operation.headers) if status < 300 else ("RequestId",)
        answer: Json = {"description": about, "headers": _headers(*names)}
        if bodies:
            answer["content"] = {kind: _content(body) for kind, body in bodies.items()}
        answers[str(status)] = answer
    return answers


def _content(body: Body) -> Json:
    return {"schema": ref(body) if isinstance(body, str) else body}


def _headers(*names: str) -> Json:
    keys = {"RequestId": "x-request-id", "RetryAfter": "retry-after"}
    keys |= {"SequenceNumber": "x-sequence-number", "ShouldRetry": "x-should-retry"}
    return {keys[name]: {"$ref": f"#/components/headers/{name}"} for name in names}


def _refused(status: int) -> Json:
    return {"$ref": f"#/components/responses/{_name(status)}"}


def _refusal(status: int) -> Json:
    words = "\n".join(f"- {row.words}" for row in of_status(status))
    waits = {429: ("RetryAfter", "ShouldRetry"), 503: ("RetryAfter",)}.get(status, ())
    return {
        "description": words,
        "headers": _headers("RequestId", *waits),
        "content": {"application/json": {"schema": ref("ErrorAnswer")}},
        "x-error-codes": [row.code for row in of_status(status)],
    }


def _name(status: int) -> str:
    return f"Error{status}"
