"""What a response continues, and what it leaves: earlier responses, or a conversation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from ws_bridge.errors import (
    BridgeError,
    ConversationNotFound,
    PreviousResponseInProgress,
    PreviousResponseNotFound,
)
from ws_bridge.jobs.references import NO_ITEMS, ItemReferences
from ws_bridge.jobs.spec import JobSpec
from ws_bridge.jobs.store_timeout import wait_while_answering
from ws_bridge.pacing import aside
from ws_bridge.protocol.conversation import (
    Conversation,
    ConversationEntry,
    conversation_id,
    entries_of_response,
)
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.references import Made, ResolvedInput
from ws_bridge.protocol.request import CreateResponse
from ws_bridge.protocol.sealing import Sealer, sealed_bytes
from ws_bridge.protocol.tools import provider_calls
from ws_bridge.store.base import Record, Snapshot, Store
from ws_bridge.store.conversations import Conversations
from ws_bridge.stream import Stream
from ws_bridge.types import Item, Json

log = logging.getLogger(__name__)

# A parent that is about to end is waited for so long, then refused (docs/protocol.md §6.1).
PARENT_SECONDS = 1.0


class Lineage:
    """Looks up the turn that a chain continues."""

    def __init__(self, store: Store, conversations: Conversations) -> None:
        self._store = store
        self._conversations = conversations
        self.references = ItemReferences(store, conversations)

    async def resolve(self, response_id: str, owner: str) -> Turn:
        """A stored response as a turn that a chain can continue, with its ancestors.

        The ancestors of a response of a conversation are what that held before it. Raises
        ``PreviousResponseNotFound`` for an unknown, foreign, expired or failed response, and
        ``PreviousResponseInProgress`` for one that does not end soon.
        """
        snapshots = await self._store.get_chain(response_id, owner)
        if snapshots and not snapshots[0].is_terminal:
            await self._wait_for_end(response_id, owner)
            snapshots = await self._store.get_chain(response_id, owner)
        if not snapshots or snapshots[-1].record.previous_response_id is not None:
            raise PreviousResponseNotFound(response_id)
        turn = await self._turn_before(snapshots[-1])
        for snapshot in reversed(snapshots):
            if snapshot.status not in ("completed", "incomplete"):
                raise PreviousResponseNotFound(response_id)
            record, output = snapshot.record, tuple(items_of(snapshot.response.get("output")))
            turn = Turn(
                *(record.id, record.input, output, record.maker, turn, snapshot.side_data),
                input_makers=record.input_makers,
                provider_calls=provider_calls(output, snapshot.response.get("tools") or ()),
            )
        if turn is None:
            raise PreviousResponseNotFound(response_id)
        return turn

    async def resolve_conversation(self, conversation_id: str, owner: str) -> Turn | None:
        """What a conversation holds, as a turn; None if it is empty.

        Raises ``ConversationNotFound``, and ``ConversationFull`` if it could not hold the response.
        """
        conversation = await self._find(conversation_id, owner)
        self._conversations.limits.check(conversation.size + 1, len(conversation.entries) + 1)
        return await aside(conversation.turn, values=len(conversation.entries))

    async def resolve_input(
        self,
        request: CreateResponse,
        owner: str,
        parent: Turn | None,
        known: Mapping[str, Made] = NO_ITEMS,
    ) -> ResolvedInput | None:
        """The input of a request that refers to items; None if it does not.

        ``known``: what the client's connection has of them. Raises as ``ItemReferences.resolve``.
        """
        if not request.referenced:
            return None
        return await self.references.resolve(
            request.items(),
            owner,
            parent=parent,
            known=known,
            conversation=conversation_id(request.conversation),
        )

    async def append_to_conversation(self, spec: JobSpec, response: Json) -> None:
        """Add a finished response's input and output to its conversation, if it has one.

        A conversation that was deleted meanwhile stays deleted; one that cannot hold all of it
        stays as it is, and the log has a line.
        """
        kept_in = spec.envelope.conversation
        if kept_in is None or response["status"] not in ("completed", "incomplete"):
            return
        record = spec.record
        output = response["output"]
        made = partial(_entries_of_response, record, output)
        entries = await aside(made, values=len(record.input) + len(output))
        try:
            # While the client waits for its end.
            add = self._conversations.add(kept_in, record.owner, entries)
            await wait_while_answering(self._store.answer_count, add)
        except (BridgeError, TimeoutError) as lost:
            reason = getattr(lost, "code", "timeout")
            log.error("conversation_lost id=%s reason=%s", kept_in, reason)  # noqa: TRY400

    async def wait_until_closed(self, streams: Sequence[Stream]) -> None:
        """Return when all streams are closed, or after as long as a parent is waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PARENT_SECONDS):
                for stream in streams:
                    await stream.wait_until_closed()

    async def _find(self, conversation_id: str, owner: str) -> Conversation:
        conversation = await self._conversations.get(conversation_id, owner)
        if conversation is None:
            raise ConversationNotFound(conversation_id)
        return conversation

    async def _turn_before(self, oldest: Snapshot) -> Turn | None:
        """What the response's conversation held before it; None if it has no conversation."""
        named, record = oldest.response.get("conversation"), oldest.record
        known = named.get("id") if isinstance(named, dict) else None
        if not isinstance(known, str):
            return None
        try:
            conversation = await self._find(known, record.owner)
        except ConversationNotFound:
            raise PreviousResponseNotFound(record.id) from None
        before = conversation.before(record.id)
        return await aside(before.turn, values=len(before.entries))

    async def _wait_for_end(self, response_id: str, owner: str) -> None:
        """Return when the response has ended, on this server or another.

        Raises ``PreviousResponseInProgress``.
        """
        try:
            async with asyncio.timeout(PARENT_SECONDS):
                async for _ in self._store.read(response_id, owner):
                    pass
        except TimeoutError:
            raise PreviousResponseInProgress(response_id) from None


def _entries_of_response(record: Record, output: Sequence[Item]) -> Sequence[ConversationEntry]:
    return entries_of_response(record.id, record.input, output, record.maker, record.input_makers)


async def build_chain(
    parent: Turn | None,
    request: CreateResponse,
    sealer: Sealer,
    given: ResolvedInput | None = None,
) -> Chain:
    """What the provider is shown, its seals and calls checked. Raises ``InvalidRequest``.

    ``given`` is the input of a request that refers to items.
    """
    whole = Chain(parent, () if isinstance(request.input, str) else tuple(request.input))
    checking = partial(_checked_chain, parent, request, sealer, given)
    return await aside(checking, values=whole.count(), size=sealed_bytes(whole))


def _checked_chain(
    parent: Turn | None, request: CreateResponse, sealer: Sealer, given: ResolvedInput | None
) -> Chain:
    given = given or ResolvedInput(request.items())
    chain = sealer.open(Chain(parent, given.items, input_makers=given.makers))
    chain.check_calls(provider_calls(chain.input, request.tools or ()))
    return chain
