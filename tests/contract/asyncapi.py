"""The socket as an AsyncAPI document."""

import re
from typing import Any

import yaml

import ws_bridge
from contract.code import close_frames
from contract.errors import cited, error_rows
from contract.page import ROOT, marked, rows, section
from contract.schemas import (
    LANE,
    NULL,
    TEXT,
    ref,
    schemas,
    steering_events,
    stream_events,
    used,
)

Json = dict[str, Any]

FILE = ROOT / "docs" / "asyncapi.yaml"
HEAD = "# Made by `python -m tests.contract`; tests/test_asyncapi.py holds it against the code.\n"
CHANNEL = {"$ref": "#/channels/responses"}
INTRODUCTION = """\
OpenAI's Responses API over a WebSocket, as this server speaks it. Sections (§) are those of \
docs/protocol.md, which says all of it in words. The HTTP side is described by `/openapi.json`.

One JSON object is one text message, both ways. Ignore events, fields, items and codes that are \
not named here: they are a provider's. Unknown fields of a create are ignored."""
# What a client sends, and what comes of it.
FRAMES: dict[str, tuple[str, str]] = {
    "response.create": (
        "Ask for a response",
        """It is answered in its turn on its lane, by the events of its response, or by one \
`error` before `response.created` (§2.2, §3.1).""",
    ),
    "response.cancel": (
        "Cancel a response",
        """The response ends with `response.failed` and the status `cancelled`. Where nothing \
runs, the answer is silence (§2.5).""",
    ),
    "response.interrupt": (
        "Interrupt a response",
        """The response ends with `response.incomplete`, reason `interrupted`, and can be \
continued (§2.6).""",
    ),
    "response.steer": (
        "Add input to a response that runs",
        "It is answered by a steering event, never by an `error` (§2.7, §3.5).",
    ),
    "response.processed": ("Say that a response was read", "The answer is silence (§2.8)."),
}


def document() -> Json:
    """The document, with the schemas that it refers to."""
    messages = _frames() | _events() | {"error": _message("error", ref("ErrorEvent"), ERROR)}
    own = _own_schemas()
    everything = schemas() | own
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ws-bridge",
            "version": ws_bridge.__version__,
            "description": INTRODUCTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": SERVERS,
        "channels": {"responses": _channel(list(messages))},
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": {name: _plain(one) for name, one in used(messages, everything).items()},
            "securitySchemes": SECURITY,
        },
    }


def text(whole: Json) -> str:
    """The document as it is kept."""
    return HEAD + yaml.dump(
        whole,
        sort_keys=False,
        allow_unicode=True,
        width=140,
        default_flow_style=None,
        Dumper=_Dumper,
    )


class _Dumper(yaml.SafeDumper):
    """Writes each value where it stands, and lists below their names."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


# The parts

SECURITY = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer KEY` on the handshake. A browser sends it as the "
        "subprotocol `openai-insecure-api-key.KEY`, with `responses` beside it, where the operator "
        "allows that (§1.2).",
    }
}
SERVERS = {
    "bridge": {
        "host": "{host}",
        "protocol": "ws",
        "description": "Or `wss`, where the operator has set a certificate.",
        "variables": {"host": {"default": "localhost:8787"}},
        "security": [{"$ref": "#/components/securitySchemes/key"}],
    }
}
ERROR = "A frame or a create was refused. Nothing of that create follows."


def _channel(names: list[str]) -> Json:
    query = {"type": "object", "properties": {"model": {**TEXT, "description": DEFAULT_MODEL}}}
    return {
        "address": "/v1/responses",
        "title": "The socket",
        "description": "No extension is negotiated. Errors of requests never close it.",
        "servers": [{"$ref": "#/servers/bridge"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
        "x-close-codes": _close_codes(),
        "x-refusals": _refusals(),
    }


DEFAULT_MODEL = "The model of creates that name none."


def _close_codes() -> list[Json]:
    """The rows of §1.5: one for each frame of the code, and those that aiohttp sends."""
    known = close_frames()
    found = []
    for code, about, retry in rows(section("1.5")):
        reasons = [name for name in marked(about) if (int(code), name) in known] or [""]
        for reason in reasons:
            may = known.get((int(code), reason), retry.startswith("yes"))
            row: Json = {"code": int(code), **({"reason": reason} if reason else {})}
            row |= {"mayReconnect": may, "comeBack": cited(retry)}
            words = re.sub(r"`[^`]* [^`]*`", "", about).strip(" ,:") if reason else about
            found.append(row | ({"description": cited(words)} if words else {}))
    return found


def _refusals() -> list[Json]:
    """Before the upgrade: plain HTTP, which `/openapi.json` has as well."""
    return [
        {"status": int(status), "code": code.strip("`"), "comeBack": cited(retry)}
        for status, code, retry in rows(section("1.3"))
    ]


def _operations() -> Json:
    """What the server does: it receives frames, and sends events."""
    of_responses = [*stream_events(), "error"]
    replies = {"response.create": of_responses, "response.steer": [*steering_events()]}
    operations: Json = {}
    for kind, (summary, about) in FRAMES.items():
        operation: Json = {"action": "receive", "channel": CHANNEL, "summary": summary}
        operation |= {"description": about, "messages": [_at(kind)]}
        if kind in replies:
            answers = [_at(name) for name in replies[kind]]
            operation["reply"] = {"channel": CHANNEL, "messages": answers}
        operations[kind.replace("response.", "receive_")] = operation
    return operations | {
        "send_events": {
            "action": "send",
            "channel": CHANNEL,
            "summary": "The events of responses",
            "description": "`response.created`, `response.in_progress`, items, and exactly one of "
            "`response.completed`, `response.incomplete` and `response.failed` (§3.1). The server "
            "begins the response after a steered one by itself.",
            "messages": [_at(name) for name in (*stream_events(), *steering_events())],
        },
        "send_error": {
            "action": "send",
            "channel": CHANNEL,
            "summary": "A refusal",
            "description": "Of a frame, of a create before its `response.created`, or of all that "
            "waits, when the connection ends (§1.4, §4.1).",
            "messages": [_at("error")],
            "x-error-codes": [
                {
                    "code": row.code,
                    "statuses": [*row.statuses],
                    "description": row.when,
                    "comeBack": row.retry,
                }
                for row in error_rows()
            ],
        },
    }


def _at(name: str) -> Json:
    return {"$ref": f"#/channels/responses/messages/{name}"}


def _message(kind: str, payload: Json, about: str = "") -> Json:
    described = {"description": about} if about else {}
    return {"name": kind, **described, "payload": payload}


def _frames() -> Json:
    names = {kind: ref(_title(kind)) for kind in FRAMES}
    return {kind: _message(kind, names[kind], FRAMES[kind][1]) for kind in FRAMES}


def _title(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split(".")) + "Frame"


def _events() -> Json:
    return {
        kind: _message(kind, ref(name))
        for kind, name in (stream_events() | steering_events()).items()
    }


def _frame(kind: str, required: tuple[str, ...] = (), **fields: Json) -> Json:
    properties = {"type": {"type": "string", "const": kind}, **fields}
    return {"type": "object", "required": ["type", *required], "properties": properties}


def _own_schemas() -> dict[str, Json]:
    """The frames and the error, which OpenAI's types do not have so."""
    create = schemas()["CreateResponse"]
    fields = {name: one for name, one in create["properties"].items() if name not in ONLY_HTTP}
    which = {"response_id": {"anyOf": [TEXT, NULL]}, "stream_id": LANE}
    message = {"type": "array", "items": ref("InputItem"), "minItems": 1}
    given = {"anyOf": [{**TEXT, "minLength": 1}, message]}
    steer = _frame(
        *("response.steer", ("previous_response_id", "input")),
        previous_response_id=TEXT,
        input={**given, "description": "Text, or messages of the user."},
    )
    return {
        "ResponseCreateFrame": _frame("response.create", stream_id=LANE, **fields),
        "ResponseCancelFrame": _frame("response.cancel", **which),
        "ResponseInterruptFrame": _frame("response.interrupt", **which),
        "ResponseSteerFrame": {**steer, "additionalProperties": False},
        "ResponseProcessedFrame": _frame("response.processed", response_id=TEXT),
        "ErrorEvent": _error_event(),
    }


ONLY_HTTP = ("background", "background_options")


def _error_event() -> Json:
    headers = {"type": "object", "additionalProperties": TEXT}
    codes = [row.code for row in error_rows()]
    code = {**TEXT, "minLength": 1, "description": CODES, "examples": codes}
    error = {
        "type": "object",
        "required": ["type", "code", "message"],
        "properties": {
            "type": TEXT,
            "code": code,
            "message": TEXT,
            "param": TEXT,
            "headers": headers,
        },
    }
    status = {"type": "integer", "description": "The HTTP status."}
    lane = {**LANE, "description": "The lane, where the error belongs to one; never null."}
    fields = {"status": status, "error": error, "stream_id": lane, "headers": headers}
    return _frame("error", ("status", "error"), **fields)


CODES = "One of the examples (§4.2), or a provider's own."


def _plain(schema: Json) -> Json:
    """AsyncAPI's discriminator is another one than OpenAPI's; its unions go without."""
    return {key: value for key, value in schema.items() if key != "discriminator"}
