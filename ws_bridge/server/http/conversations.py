"""`/v1/conversations`: create, get, update, delete, and the items in them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from aiohttp import web

from ws_bridge.clock import Clock
from ws_bridge.errors import (
    ConversationNotFound,
    InvalidEncryptedContent,
    InvalidRequest,
    ItemNotFound,
    MissingParameter,
)
from ws_bridge.jobs.references import ItemReferences
from ws_bridge.pacing import aside
from ws_bridge.protocol.conversation import (
    Conversation,
    ConversationEntry,
    entries_of,
    new_conversation_id,
    read_items,
    read_metadata,
)
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.sealing import Sealer, sealed_bytes
from ws_bridge.server.auth import OWNER
from ws_bridge.server.http.json import PageQuery, no_such_item, read_json
from ws_bridge.server.json_responses import json_response, large_response
from ws_bridge.store.conversations import Conversations
from ws_bridge.types import Json

# Pages that are read at once; more wait. Each is there packed, as objects and as JSON.
PAGES_AT_ONCE = 4


class ConversationRoutes:
    """The handlers. The middleware has set the request's owner."""

    def __init__(
        self, kept: Conversations, references: ItemReferences, sealer: Sealer, clock: Clock
    ) -> None:
        self._kept = kept
        self._references = references
        self._sealer = sealer
        self._clock = clock
        self._reading = asyncio.Semaphore(PAGES_AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        """Method, path, handler."""
        one = "/v1/conversations/{id}"
        return [
            web.post("/v1/conversations", self.create),
            web.get(one, self.retrieve, allow_head=False),
            web.post(one, self.update),
            web.delete(one, self.delete),
            web.post(f"{one}/items", self.add),
            web.get(f"{one}/items", self.list_items, allow_head=False),
            web.get(f"{one}/items/{{item}}", self.retrieve_item, allow_head=False),
            web.delete(f"{one}/items/{{item}}", self.delete_item),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """A new conversation, perhaps with its first items."""
        body = await read_json(request) if request.can_read_body else {}
        conversation = Conversation(
            id=new_conversation_id(),
            owner=request[OWNER],
            created_at=int(self._clock.wall()),
            metadata=read_metadata(body.get("metadata")),
            entries=await self._entries(body, request[OWNER], required=False),
        )
        await self._kept.create(conversation)
        return json_response(conversation.body())

    async def retrieve(self, request: web.Request) -> web.Response:
        """The conversation without its items."""
        return json_response((await self._find(request)).body())

    async def update(self, request: web.Request) -> web.Response:
        """Replace the metadata."""
        body = await read_json(request)
        if "metadata" not in body:
            raise MissingParameter("metadata")
        metadata = read_metadata(body["metadata"])
        conversation_id = request.match_info["id"]
        if not await self._kept.update(conversation_id, request[OWNER], metadata):
            raise ConversationNotFound(conversation_id)
        return await self.retrieve(request)

    async def delete(self, request: web.Request) -> web.Response:
        """Forget it; responses that were made in it stay."""
        conversation_id = request.match_info["id"]
        if not await self._kept.delete(conversation_id, request[OWNER]):
            raise ConversationNotFound(conversation_id)
        deleted = {"id": conversation_id, "object": "conversation.deleted", "deleted": True}
        return json_response(deleted)

    async def add(self, request: web.Request) -> web.Response:
        """Append items; the answer lists them as they were added."""
        conversation_id, body = request.match_info["id"], await read_json(request)
        entries = await self._entries(body, request[OWNER], conversation_id, required=True)
        ids = await self._kept.add(conversation_id, request[OWNER], entries)
        if ids is None:
            raise ConversationNotFound(conversation_id)
        pairs = zip(entries, ids, strict=True)
        added = [replace(entry, id=item_id).listed() for entry, item_id in pairs]
        ends = {"first_id": added[0]["id"], "last_id": added[-1]["id"]}
        listed = {"object": "list", "data": added, **ends, "has_more": False}
        return await large_response(listed)

    async def list_items(self, request: web.Request) -> web.Response:
        """A page of the items, the newest first."""
        query, conversation_id = PageQuery.of(request), request.match_info["id"]
        start: int | None = None
        if query.after:
            conversation = await self._find(request)
            found = await self._kept.find(conversation.id, request[OWNER], query.after)
            if found is None:
                raise no_such_item()
            start = found + (-1 if query.newest_first else 1)
        async with self._reading:
            return await self._page(conversation_id, request[OWNER], query, start)

    async def _page(
        self, conversation_id: str, owner: str, query: PageQuery, start: int | None
    ) -> web.Response:
        """As many items as are asked for, or fewer if they are large: then there are more."""
        part = await self._kept.page(
            conversation_id,
            owner,
            start=start,
            count=query.limit,
            newest_first=query.newest_first,
        )
        if part is None:
            raise ConversationNotFound(conversation_id)

        def build() -> web.Response:
            page = query.body([one.listed() for one in part.entries])
            return json_response(page | {"has_more": part.has_more})

        return await aside(build, size=part.size)

    async def retrieve_item(self, request: web.Request) -> web.Response:
        """One item."""
        conversation, wanted = await self._find(request), request.match_info["item"]
        place = await self._kept.find(conversation.id, request[OWNER], wanted)
        part = None
        if place is not None:
            part = await self._kept.page(
                conversation.id, request[OWNER], start=place, count=1, newest_first=False
            )
        if not part or not part.entries or part.entries[0].id != wanted:
            raise ItemNotFound(wanted)
        return await large_response(part.entries[0].listed())

    async def delete_item(self, request: web.Request) -> web.Response:
        """Take one item out; the answer is the conversation."""
        conversation, wanted = await self._find(request), request.match_info["item"]
        if not await self._kept.remove(conversation.id, request[OWNER], wanted):
            raise ItemNotFound(wanted)
        return json_response(conversation.body())

    async def _entries(
        self, body: Json, owner: str, kept_in: str | None = None, *, required: bool
    ) -> tuple[ConversationEntry, ...]:
        """The items of a body, on their way in. Raises ``InvalidRequest``."""
        items = read_items(body.get("items"), required=required)
        try:
            given = await self._references.resolve(tuple(items), owner, conversation=kept_in)
        except InvalidRequest as unknown:
            raise InvalidRequest(unknown.message, param="items") from None
        try:
            size = sealed_bytes(Chain(None, tuple(items)))
            await aside(partial(self._sealer.check, items), size=size)
        except InvalidEncryptedContent as forged:
            raise InvalidEncryptedContent(forged.message, param="items") from None
        return entries_of(given.items, given.makers)

    async def _find(self, request: web.Request) -> Conversation:
        conversation_id = request.match_info["id"]
        conversation = await self._kept.head(conversation_id, request[OWNER])
        if conversation is None:
            raise ConversationNotFound(conversation_id)
        return conversation
