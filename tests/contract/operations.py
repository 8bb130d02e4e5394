"""Every route of the server, with what it takes, what it answers, and how it can be refused.

`tests/test_openapi.py` holds the table against the routes of the code, and asks each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Body = str | Json  # a schema's name, or a schema
Answers = Sequence[tuple[int, str, Mapping[str, Body]]]

JSON = "application/json"
STREAM = "text/event-stream"
TEXT: Json = {"type": "string"}

# What any request with a key may be refused with, and one that has a body.
ANY = (400, 401, 403, 429, 500, 503)
WITH_BODY = (*ANY, 408, 413, 417)
# Of a request that a model has to answer.
OF_A_MODEL = (*WITH_BODY, 404, 409, 502, 504)


@dataclass(frozen=True)
class Operation:
    """One route. ``errors`` are statuses; ``is_open``: it needs no key."""

    name: str
    method: str
    path: str
    summary: str
    answers: Answers
    errors: Sequence[int] = ()
    about: str = ""
    parameters: Sequence[Json] = ()
    headers: Sequence[str] = ()
    body: str = ""
    needs_body: bool = True
    is_open: bool = False
    asks_provider: bool = False


def ok(about: str, body: Body) -> Answers:
    """200 with JSON."""
    return ((200, about, {JSON: body}),)


def in_path(name: str, about: str) -> Json:
    """A part of the path."""
    return {"name": name, "in": "path", "required": True, "description": about, "schema": TEXT}


def in_query(name: str, about: str, **schema: Any) -> Json:
    """A parameter of the query."""
    return {"name": name, "in": "query", "description": about, "schema": schema}


RESPONSE_ID = in_path("id", "The response's id.")
CONVERSATION_ID = in_path("id", "The conversation's id.")
ITEM_ID = in_path("item", "The item's id.")
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A random one for each create; the same create with the same key is made once, "
    "for a day (§6.7). The body's `idempotency_key` is the same.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x20-\\x7e]+$"},
}
PAGE = (
    in_query("limit", "How many.", type="integer", minimum=1, maximum=100, default=20),
    in_query("order", "By age.", type="string", enum=["asc", "desc"], default="desc"),
    in_query("after", "Begin behind the item with this id.", type="string"),
)
READING = (
    in_query(
        *("stream", "True: answer with events, live to the end, instead of the snapshot."),
        type="boolean",
        default=False,
    ),
    in_query(
        "starting_after",
        "With `stream`: only events with a higher number. −1: all of them.",  # noqa: RUF001
        type="integer",
        default=-1,
    ),
    in_query(
        "wait",
        "A long poll: the answer waits until there is an event above `after`, the response has "
        "ended, or so many seconds are over. Not with `stream`.",
        type="integer",
        minimum=0,
        maximum=60,
        default=0,
    ),
    in_query(
        *("after", "With `wait`: the last answer's `x-sequence-number`."),
        type="integer",
        default=-1,
    ),
)
EVENTS = (
    "Server-sent events: `event:` is the type, `data:` the event of the schema as one line of "
    "JSON. `data: [DONE]` is last; a stream that ends without it was cut off."
)

RESPONSES = (
    Operation(
        "openSocket",
        "GET",
        "/v1/responses",
        "Open a WebSocket",
        ((101, "The socket, which docs/asyncapi.yaml describes.", {}),),
        (*(400, 401, 403, 426, 429, 500),),
        "With `Upgrade: websocket` and version 13 (§1). Without, it is 426.",
        (in_query("model", "The model of creates that name none.", type="string"),),
    ),
    Operation(
        "createResponse",
        "POST",
        "/v1/responses",
        "Create a response",
        (
            (
                200,
                "The response: with `background` at once, else when it has ended, also as "
                "`failed`. With `stream` its events (§7.2). " + EVENTS,
                {JSON: "ResponseObject", STREAM: "ResponseStreamEvent"},
            ),
        ),
        (*OF_A_MODEL, 422),
        "A stored response (`store`, which is the default) can be read, followed and cancelled "
        "while it runs, and survives the connection.",
        (KEY,),
        body="CreateResponse",
        asks_provider=True,
    ),
    Operation(
        "retrieveResponse",
        "GET",
        "/v1/responses/{id}",
        "Read or follow a response",
        (
            (
                200,
                "The snapshot of now, or with `stream` the events. " + EVENTS,
                {JSON: "ResponseObject", STREAM: "ResponseStreamEvent"},
            ),
        ),
        (*ANY, 404),
        "A poll, a long poll or a stream, also while the response runs (§7.4, §8.1, §8.2).",
        (RESPONSE_ID, *READING),
        headers=("SequenceNumber",),
    ),
    Operation(
        "deleteResponse",
        "DELETE",
        "/v1/responses/{id}",
        "Delete a response",
        ok("It is gone.", "DeletedResponse"),
        (*ANY, 404),
        "A running response is cancelled first; one in the background is refused (400).",
        (RESPONSE_ID,),
    ),
    Operation(
        "cancelResponse",
        "POST",
        "/v1/responses/{id}/cancel",
        "Cancel a response",
        ok("The response, as it has ended.", "ResponseObject"),
        (*ANY, 404),
        "Works for every stored response that runs, on any server. There is no body.",
        (RESPONSE_ID,),
    ),
    Operation(
        "listInputItems",
        "GET",
        "/v1/responses/{id}/input_items",
        "List what a response was asked",
        ok("A page of its input, with the history before it.", "ResponseItemList"),
        (*ANY, 404),
        parameters=(RESPONSE_ID, *PAGE),
    ),
)
MODELS = (
    Operation(
        "countInputTokens",
        "POST",
        "/v1/responses/input_tokens",
        "Count the tokens of an input",
        ok("The count.", "InputTokenCount"),
        OF_A_MODEL,
        body="CreateResponse",
        asks_provider=True,
    ),
    Operation(
        "compactResponse",
        "POST",
        "/v1/responses/compact",
        "Compact a conversation",
        ok("One `compaction` item, which is input for a new chain (§10.1).", "CompactedResponse"),
        OF_A_MODEL,
        body="CreateResponse",
        asks_provider=True,
    ),
    Operation(
        "listModels",
        "GET",
        "/v1/models",
        "List the models",
        ok("The names that can be asked for.", "ModelList"),
        (400, 401, 403, 429, 500),
    ),
    Operation(
        "retrieveModel",
        "GET",
        "/v1/models/{id}",
        "Read a model",
        ok("The model.", "Model"),
        (400, 401, 403, 404, 429, 500),
        parameters=(in_path("id", "Its name, which may have slashes."),),
    ),
    Operation(
        "listUsage",
        "GET",
        "/v1/usage",
        "Read what the key's name has used",
        ok("A row for each day and model, and the sum of all.", "UsageList"),
        ANY,
        parameters=(
            in_query(
                *("days", "How many days of UTC, today included."),
                type="integer",
                minimum=1,
                maximum=400,
                default=30,
            ),
        ),
    ),
)
CONVERSATIONS = (
    Operation(
        "createConversation",
        "POST",
        "/v1/conversations",
        "Create a conversation",
        ok("The conversation.", "Conversation"),
        WITH_BODY,
        body="NewConversation",
        needs_body=False,
    ),
    Operation(
        "retrieveConversation",
        "GET",
        "/v1/conversations/{id}",
        "Read a conversation",
        ok("The conversation, without its items.", "Conversation"),
        (*ANY, 404),
        parameters=(CONVERSATION_ID,),
    ),
    Operation(
        "updateConversation",
        "POST",
        "/v1/conversations/{id}",
        "Replace a conversation's metadata",
        ok("The conversation.", "Conversation"),
        (*WITH_BODY, 404),
        parameters=(CONVERSATION_ID,),
        body="ConversationUpdate",
    ),
    Operation(
        "deleteConversation",
        "DELETE",
        "/v1/conversations/{id}",
        "Delete a conversation",
        ok("It is gone; its responses stay.", "ConversationDeleted"),
        (*ANY, 404),
        parameters=(CONVERSATION_ID,),
    ),
    Operation(
        "addItems",
        "POST",
        "/v1/conversations/{id}/items",
        "Add items to a conversation",
        ok("The items as they were added.", "ConversationItemList"),
        (*WITH_BODY, 404),
        parameters=(CONVERSATION_ID,),
        body="NewItems",
    ),
    Operation(
        "listItems",
        "GET",
        "/v1/conversations/{id}/items",
        "List the items of a conversation",
        ok("A page of them.", "ConversationItemList"),
        (*ANY, 404),
        parameters=(CONVERSATION_ID, *PAGE),
    ),
    Operation(
        "retrieveItem",
        "GET",
        "/v1/conversations/{id}/items/{item}",
        "Read an item of a conversation",
        ok("The item.", "ConversationItem"),
        (*ANY, 404),
        parameters=(CONVERSATION_ID, ITEM_ID),
    ),
    Operation(
        "deleteItem",
        "DELETE",
        "/v1/conversations/{id}/items/{item}",
        "Take an item out of a conversation",
        ok("The conversation.", "Conversation"),
        (*ANY, 404),
        parameters=(CONVERSATION_ID, ITEM_ID),
    ),
)
HEALTH: Json = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"type": "string", "enum": ["ok", "ready", "not ready"]},
        "missing": {"type": "array", "items": {"type": "string", "enum": ["upstream", "store"]}},
    },
}
UNCHANGED = (304, "The client has it already (`If-None-Match`).", {})
OPERATING = (
    Operation(
        "isAlive", "GET", "/healthz", "Ask whether it lives", ok("Yes.", HEALTH), is_open=True
    ),
    Operation(
        "isReady",
        "GET",
        "/readyz",
        "Ask whether responses can be made",
        ((200, "Yes.", {JSON: HEALTH}), (503, "No, or not any more.", {JSON: HEALTH})),
        about="`missing` names what is away.",
        is_open=True,
    ),
    Operation(
        "readMetrics",
        "GET",
        "/metrics",
        "Read the metrics",
        ((200, "Prometheus's text format.", {"text/plain": TEXT}),),
        (400, 401, 403, 429, 500),
    ),
    Operation(
        "readDocument",
        "GET",
        "/openapi.json",
        "Read this document",
        ((200, "It.", {JSON: {"type": "object"}}), UNCHANGED),
        is_open=True,
    ),
    Operation(
        "showPage",
        "GET",
        "/",
        "Show the chat page",
        ((200, "The page.", {"text/html": TEXT}), UNCHANGED),
        is_open=True,
    ),
    Operation(
        "readFileOfPage",
        "GET",
        "/static/{name}",
        "Read a file of the chat page",
        ((200, "The file.", {"*/*": TEXT}), UNCHANGED),
        (404,),
        parameters=(in_path("name", "The file's name."),),
        is_open=True,
    ),
)
TAGS = {
    "Responses": RESPONSES,
    "Models": MODELS,
    "Conversations": CONVERSATIONS,
    "Operation": OPERATING,
}
OPERATIONS = tuple(operation for tagged in TAGS.values() for operation in tagged)
