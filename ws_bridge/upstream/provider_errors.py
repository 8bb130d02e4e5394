"""A provider's own error, in any shape of JSON → the `UpstreamError` that clients get (pure).

Rule 1: the message and the code are the provider's, redacted (``errors``); a page of HTML is no
message.
Rule 2: what has no status of its own gets one by its code or type, else 502.
Rule 3: clients act on a context that is too long and on refused content: these have one code,
whatever words a provider has for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.errors import (
    CODES,
    JSON_LIMIT,
    MESSAGES,
    OWN_MESSAGE,
    SEARCHED,
    redacted,
    retry_after,
)

# Words of codes, types and statuses that providers use in streams, and the status they mean.
STATUSES = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "unrecognizedclientexception": 401,
    "billing_error": 402,
    "accessdeniedexception": 403,
    "permission_denied": 403,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found": 404,
    "not_found_error": 404,
    "resourcenotfoundexception": 404,
    "modeltimeoutexception": 408,
    "request_too_large": 413,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "servicequotaexceededexception": 429,
    "throttlingexception": 429,
    "too_many_requests": 429,
    "context_length_exceeded": 400,
    "failed_precondition": 400,
    "invalid_argument": 400,
    "invalid_prompt": 400,
    "invalid_request": 400,
    "invalid_request_error": 400,
    "tool_use_failed": 400,
    "validationexception": 400,
    "api_error": 500,
    "internal": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "internalserverexception": 500,
    "server_error": 500,
    "modelnotreadyexception": 503,
    "overloaded": 503,
    "serviceunavailableexception": 503,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# Where an object or a list with the words may stand; the latter only if no text is beside it.
NESTED = ("error", "response")
NESTED_INSTEAD = ("errors", "detail", "message")
LEVELS = 6
TEXTS = (
    *("message", "Message", "detail", "msg", "error_description", "error_message", "reason"),
    *("error", "title", "description"),
)
WORDS = ("code", "__type", "type", "status", "error_type")  # what kind of error it is
STATUS_KEYS = ("status_code", "http_code", "code", "status")  # that may hold a number of HTTP
PLACES = frozenset({"body", "query", "path", "header"})  # where FastAPI found a field
# Codes that say no more than the status does; a code of rule 3 goes before them.
GENERAL = frozenset(
    """
    bad_request badrequest error invalid_argument invalid_parameter invalid_parameter_error
    invalid_request invalid_request_error invalid_value invalidparameter validation_error
    validationexception
    """.split()
)
CONTEXT_LENGTH = re.compile(
    r"""context.?length | context.?window | context\ limit | context.?size | maximum\ context
    | (prompt|input|request)\ (is\ )?too\ (long|large):? (?=.*token|$|\ for)
    | too\ many\ (input\ |total\ )?(tokens|text\ bytes)
    | token\ count\ .*exceeds | input\ tokens\ exceed | token\ limit\ (reached|exceeded)
    | exceeds?\ the\ max(imum)?\ (number\ of\ tokens|input\ length) | maximum\ prompt\ length
    | range\ of\ input\ length | current\ length\ is\ .*while\ limit\ is
    | reduce\ the\ length\ of\ the\ (messages|prompt|input)""",
    re.IGNORECASE | re.VERBOSE,
)
CONTENT_POLICY = re.compile(
    r"""content.?policy | usage\ polic(y|ies) | safety\ system | content\ management\ policy
    | content\ filter | data.?inspection.?failed | inappropriate\ content | was\ flagged
    | guardrail\ intervened | blocked\ by\ .*(safety|filter)""",
    re.IGNORECASE | re.VERBOSE,
)
REFUSING = frozenset({400, 403, 413, 422})  # statuses at which the request's content is looked at


def error_of(
    status: int | None, body: Any, headers: Mapping[str, Any] | None = None
) -> UpstreamError:
    """The error in a body or an event. ``status``: HTTP's, or None in a stream that began well.

    ``body``: JSON as values, or the text of a body that is none.
    """
    inner, outer = _innermost(body), body if isinstance(body, dict) else {}
    inner = _raw(inner) or inner
    words = [word for name in WORDS for one in (inner, outer) if (word := _word(one.get(name)))]
    found = status if status is not None and status >= 400 else _status(inner, words)
    text = _text(inner)
    code = _class(text, words, found)
    is_own = found in OWN_MESSAGE and code is None
    stated = _code((inner, outer), words, found)
    return UpstreamError(
        (MESSAGES[found] if is_own else redacted(text)) or MESSAGES.get(found, ""),
        status=found,
        code=code or stated,
        param=_word(inner.get("param")) or _place(inner.get("loc")) or None,
        retry_after=retry_after({**_delay(inner), **(headers or {})}),
        has_own_code=code is None and not is_own and stated in words,
    )


def has_error(body: Any) -> bool:
    """Whether an object that should be a piece of an answer is an error."""
    return isinstance(body, dict) and any(body.get(name) for name in ("error", "errors"))


def _innermost(body: Any) -> Mapping[str, Any]:
    """The object that has the words, through every wrapping that providers use."""
    found: Mapping[str, Any] = {}
    for _ in range(LEVELS):
        if isinstance(body, list):
            body = body[0] if body else {}
        if isinstance(body, str):
            return {**found, "message": body}
        if not isinstance(body, dict):
            return found
        found = body
        names = NESTED if isinstance(body.get("message"), str) else NESTED + NESTED_INSTEAD
        body = next((body[name] for name in names if isinstance(body.get(name), dict | list)), None)
        if not body:
            return found
    return found


def _raw(inner: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the provider behind a router said, where the router's own words say nothing; or {}."""
    metadata = inner.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str):
        raw = _parsed(raw) or raw
    theirs = _innermost(raw) if raw else {}
    return {**inner, **theirs} if _text(theirs) else {}


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text) if len(text) <= JSON_LIMIT else None
    except orjson.JSONDecodeError:
        return None


def _text(inner: Mapping[str, Any]) -> str:
    text = next((one for name in TEXTS if isinstance(one := inner.get(name), str) and one), "")
    if text.startswith(("{", "[")) and (nested := _parsed(text)):  # an error in an error's message
        return _text(_innermost(nested)) or text
    if text.lstrip().startswith("<"):
        return ""
    place = _place(inner.get("loc"))
    return f"{place}: {text}" if place and text else text


def _place(path: Any) -> str:
    """FastAPI's path of a field: "messages.0.content"."""
    if not isinstance(path, list):
        return ""
    return _word(".".join(str(part) for part in path if part not in PLACES))


def _delay(inner: Mapping[str, Any]) -> Mapping[str, str]:
    """The pause that Google asks for in the body, as a header."""
    details = inner.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and "retryDelay" in detail:
            return {"retry-after": str(detail["retryDelay"]).removesuffix("s")}
    return {}


def _status(inner: Mapping[str, Any], words: list[str]) -> int:
    for name in STATUS_KEYS:
        number = _word(inner.get(name))
        if number.isdigit() and 400 <= int(number) < 600:
            return int(number)
    lowered = (word.rpartition("#")[2].lower() for word in words)
    return next((STATUSES[word] for word in lowered if word in STATUSES), 502)


def _class(text: str, words: list[str], status: int) -> str | None:
    """The code of rule 3, by the words of the message or of the code."""
    if status not in REFUSING or (words and not _is_general(words[0])):
        return None
    searched = " ".join([*words, text[:SEARCHED]])
    if CONTEXT_LENGTH.search(searched):
        return "context_length_exceeded"
    return "content_policy_violation" if CONTENT_POLICY.search(searched) else None


def _is_general(code: str) -> bool:
    return code.isdigit() or code.rpartition("#")[2].lower() in GENERAL


def _code(places: Iterable[Mapping[str, Any]], words: list[str], status: int) -> str | None:
    for place in places:
        if (code := _word(place.get("code"))) and not code.isdigit():
            return code
    return CODES.get(status) or next((word for word in words if not word.isdigit()), None)


def _word(value: Any) -> str:
    """A code, type or parameter as text; "" for all that is none."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    text = str(value) if is_number or isinstance(value, str) else ""
    return text if len(text) <= 100 and text.isascii() and text.isprintable() else ""
