"""Requests as JSON and pages of lists: bodies, queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from ws_bridge.config import Limits
from ws_bridge.config.memory import COPIES
from ws_bridge.errors import InvalidRequest
from ws_bridge.pacing import HEAVY_BYTES, aside
from ws_bridge.protocol.json_limits import (
    JsonLimits,
    check_limits,
    read_object,
    reading_size,
    weigh,
)
from ws_bridge.protocol.request import CreateResponse, parse_create
from ws_bridge.server.quotas import MemoryClaim
from ws_bridge.types import Json

LIMITS: web.AppKey[Callable[[], Limits]] = web.AppKey("limits")  # they may change
CLAIM = web.RequestKey("claim", MemoryClaim)  # of the request, until it is answered
KEY_FIELD = "idempotency_key"
INTEGER = re.compile(r"-?[0-9]{1,18}")


async def read_json(request: web.Request) -> Json:
    """The body as an object; it can be read once. Raises ``InvalidRequest``.

    What it takes in memory is counted, where it is more than its text. Raises ``RateLimited``.
    """
    limits = limits_of(request)
    text = await read_body(request)
    shape, size = JsonLimits(limits.json_depth, limits.json_keys), reading_size(text, HEAVY_BYTES)
    reading = partial(_object, text, shape)
    del text  # it is kept by nothing but the work
    body, weight = await aside(reading, size=size)
    if (claim := request.get(CLAIM)) is not None:
        claim.grow(COPIES * weight)
    return body


def _object(text: bytearray, shape: JsonLimits) -> tuple[Json, int]:
    body = read_object(text, shape, "request body")
    check_limits(body, shape)
    return body, weigh([body])


async def read_body(request: web.Request) -> bytearray:
    """The body as it came: aiohttp would make a copy, and keep it to the end of the answer.

    It is counted as it comes. Raises ``InvalidRequest``, ``RateLimited``, and aiohttp's refusal of
    what is too large.
    """
    body, most, claim = bytearray(), request.client_max_size, request.get(CLAIM)
    try:
        while piece := await request.content.readany():
            body += piece
            if len(body) > most:
                raise web.HTTPRequestEntityTooLarge(most)
            # The head may announce no length, or that of a compressed body.
            if claim is not None:
                claim.grow(COPIES * len(body))
    except web.RequestPayloadError:
        raise InvalidRequest("The request body cannot be unpacked, or is cut off.") from None
    return body


async def read_create(body: Json, key: str | None = None) -> CreateResponse:
    """A create out of its body, with the idempotency key of its head, if it has one.

    Raises ``InvalidRequest``.
    """
    if key is not None:
        if body.get(KEY_FIELD) not in (None, key):
            raise InvalidRequest(
                "Header and body have different idempotency keys.", param=KEY_FIELD
            )
        body = body | {KEY_FIELD: key}
    lists = (body.get("input"), body.get("tools"))
    values = sum(len(given) for given in lists if isinstance(given, list))
    size = HEAVY_BYTES if body.get(KEY_FIELD) else 0  # all of it is hashed
    return await aside(partial(parse_create, body), values=values, size=size)


def idempotency_key(request: web.Request) -> str | None:
    """The header `Idempotency-Key`. Raises ``InvalidRequest`` if it is there more than once."""
    keys = request.headers.getall("Idempotency-Key", ())
    if len(keys) > 1:
        raise InvalidRequest("More than one 'Idempotency-Key' header.", param=KEY_FIELD)
    return keys[0] if keys else None


def limits_of(request: web.Request) -> Limits:
    """The configured limits."""
    find = request.app.get(LIMITS)
    return find() if find is not None else Limits()


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which page of a list is asked for (docs/protocol.md §7.5)."""

    limit: int
    newest_first: bool
    after: str

    @classmethod
    def of(cls, request: web.Request) -> PageQuery:
        """Raises ``InvalidRequest`` for a bad query."""
        limit = integer(request, "limit", default=20)
        order = request.query.get("order") or "desc"
        if not 1 <= limit <= 100:
            raise InvalidRequest("'limit' must be between 1 and 100.", param="limit")
        if order not in ("asc", "desc"):
            raise InvalidRequest("'order' must be 'asc' or 'desc'.", param="order")
        return cls(limit, order == "desc", request.query.get("after") or "")

    def body(self, items: Sequence[Json]) -> Json:
        """The page: of what comes next, one item more than the limit is enough."""
        page = items[: self.limit]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0].get("id") if page else None,
            "last_id": page[-1].get("id") if page else None,
            "has_more": len(items) > self.limit,
        }


def no_such_item() -> InvalidRequest:
    """The error of a page that is to begin after an item that is not there."""
    return InvalidRequest("'after' names no item of this list.", param="after")


def page(request: web.Request, items: list[Json]) -> Json:
    """One page of a list. Raises ``InvalidRequest`` for a bad query."""
    query = PageQuery.of(request)
    items = items[:: -1 if query.newest_first else 1]
    if query.after:
        ids = [item.get("id") for item in items]
        if query.after not in ids:
            raise no_such_item()
        # Of two, the last: pages come to an end.
        items = items[len(ids) - ids[::-1].index(query.after) :]
    return query.body(items)


def flag(request: web.Request, name: str) -> bool:
    """A boolean of the query, false if it is not there. Raises ``InvalidRequest``."""
    value = request.query.get(name, "false").lower()
    if value not in ("true", "false", "1", "0", ""):
        raise InvalidRequest(f"'{name}' must be true or false.", param=name)
    return value in ("true", "1")


def integer(request: web.Request, name: str, *, default: int) -> int:
    """A whole number of the query. Raises ``InvalidRequest``."""
    value = request.query.get(name)
    if not value:
        return default
    if not INTEGER.fullmatch(value):
        raise InvalidRequest(f"'{name}' must be an integer.", param=name)
    return int(value)
