"""What every store promises: one suite, run by each implementation.

A subclass gives the fixture ``store``: a fresh, empty ``Store``.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace

from scripted import answer

from ws_bridge.protocol.events import Event
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.store.base import Lease, Record, Store, Verdict, Write

PATIENCE = 20.0  # seconds until a reader that should have ended is called hung

ITEM = {"type": "message", "role": "user", "content": "hi"}


def record(owner: str = "alice") -> Record:
    return Record("resp_" + secrets.token_hex(24), owner, (ITEM,), "openai|", "resp_0")


def events_of(kept: Record, *words: str) -> list[Event]:
    """A whole response, as a job would append it."""
    sequencer = Sequencer(Envelope(kept.id, "m", 1_795_200_000), None, lambda: 1_795_200_001.0)
    drafts = answer(*(words or ("Hel", "lo")))
    return [event for draft in drafts for event in sequencer.take(draft)]


async def collect(store: Store, kept: Record, after: int = -1) -> list[Event]:
    """What a reader gets until it is over."""
    async with asyncio.timeout(PATIENCE):
        reader = store.read(kept.id, kept.owner, after=after)
        return [event async for batch in reader for event in batch]


async def append(store: Store, kept: Record, events: Sequence[Event], fence: int = 1) -> Verdict:
    """One write of the record's first writer, or of the one with the given fence."""
    [receipt] = await store.append([Write(Lease(kept.id, fence), events)])
    return receipt.verdict


async def finished(store: Store, owner: str = "alice") -> tuple[Record, list[Event]]:
    kept = record(owner)
    events = events_of(kept)
    await store.create(kept)
    assert await append(store, kept, events) is Verdict.APPENDED
    return kept, events


class StoreContract:
    """Collected in subclasses only."""

    # Create and get

    async def test_what_was_created_is_known_before_it_has_any_event(self, store: Store):
        kept = record()
        await store.create(kept)
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        assert (snapshot.record, snapshot.number, snapshot.is_terminal) == (kept, -1, False)

    async def test_a_record_comes_back_as_it_was(self, store: Store):
        for kept in (record(), replace(record(), previous_response_id=None, background=True)):
            await store.create(kept)
            snapshot = await store.get(kept.id, "alice")
            assert snapshot is not None
            assert snapshot.record == kept

    async def test_creating_again_keeps_what_is_there(self, store: Store):
        """A creation whose answer was lost is sent again."""
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        await append(store, kept, events[:3])
        await store.create(kept)
        assert await append(store, kept, events[3:]) is Verdict.APPENDED
        await store.create(kept)
        assert await collect(store, kept) == events

    async def test_unknown_is_none(self, store: Store):
        assert await store.get("resp_unknown", "alice") is None

    async def test_a_snapshot_is_the_fold_of_what_was_appended(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        for number, event in enumerate(events):
            await append(store, kept, [event])
            snapshot = await store.get(kept.id, "alice")
            assert snapshot is not None
            assert snapshot.response == fold(events[: number + 1])
            assert snapshot.number == number
            assert snapshot.is_terminal is event.is_terminal
        assert snapshot.status == "completed"
        assert snapshot.response == events[-1].json()["response"]

    async def test_a_snapshot_is_the_readers_own(self, store: Store):
        kept, events = await finished(store)
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        snapshot.response["output"][0]["content"].clear()
        again = await store.get(kept.id, "alice")
        assert again is not None
        assert again.response == fold(events)

    # Append

    async def test_an_append_to_nothing_is_gone(self, store: Store):
        kept = record()
        assert await append(store, kept, events_of(kept)) is Verdict.GONE
        assert await store.get(kept.id, "alice") is None

    async def test_what_is_there_already_is_a_duplicate_and_changes_nothing(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        await append(store, kept, events[:4])
        for again in (events[:4], events[1:3], events[:1], []):
            assert await append(store, kept, again) is Verdict.DUPLICATE
        await append(store, kept, events[4:])
        assert await collect(store, kept) == events

    async def test_of_an_overlapping_append_only_the_new_is_added(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        for end in range(1, len(events) + 1):
            assert await append(store, kept, events[max(0, end - 3) : end]) is Verdict.APPENDED
        assert await collect(store, kept) == events

    async def test_an_append_that_leaves_a_gap_adds_nothing(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        assert await append(store, kept, events[1:]) is Verdict.GAP
        await append(store, kept, events[:2])
        assert await append(store, kept, events[3:]) is Verdict.GAP
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        assert snapshot.number == 1
        assert await append(store, kept, events) is Verdict.APPENDED
        assert await collect(store, kept) == events

    async def test_after_the_terminal_event_nothing_is_added(self, store: Store):
        kept, events = await finished(store)
        late = [replace(events[2], number=len(events))]
        assert await append(store, kept, late) is Verdict.ENDED
        assert await append(store, kept, [*events, *late]) is Verdict.ENDED
        assert await collect(store, kept) == events

    async def test_the_end_sent_again_is_a_duplicate(self, store: Store):
        kept, events = await finished(store)
        assert await append(store, kept, events) is Verdict.DUPLICATE
        assert await append(store, kept, events[-1:]) is Verdict.DUPLICATE

    # Read

    async def test_at_every_cut_a_prefix_and_the_rest_are_the_whole(self, store: Store):
        kept, events = await finished(store)
        for cut in range(-1, len(events) + 2):
            assert await collect(store, kept, cut) == events[cut + 1 :]

    async def test_a_reader_that_joins_anywhere_gets_all_after_its_position(self, store: Store):
        words = [f"{number} " for number in range(4)]
        for joined in range(len(events_of(record(), *words)) + 1):
            kept = record()
            events = events_of(kept, *words)
            await store.create(kept)
            if joined:
                await append(store, kept, events[:joined])
            cuts = range(-1, len(events))
            readers = [asyncio.create_task(collect(store, kept, cut)) for cut in cuts]
            for event in events[joined:]:
                await asyncio.sleep(0)
                await append(store, kept, [event])
            for cut, read in zip(cuts, await asyncio.gather(*readers), strict=True):
                assert read == events[cut + 1 :]

    async def test_all_readers_get_the_same_bytes_in_the_same_order(self, store: Store):
        kept = record()
        events = events_of(kept, *"abcdefgh")
        await store.create(kept)
        readers = [asyncio.create_task(collect(store, kept)) for _ in range(50)]
        for event in events:
            await asyncio.sleep(0)
            await append(store, kept, [event])
        texts = [[event.text for event in read] for read in await asyncio.gather(*readers)]
        assert texts == [[event.text for event in events]] * 50

    async def test_a_slow_reader_holds_up_nobody_and_misses_nothing(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        await append(store, kept, events[:1])
        async with asyncio.timeout(PATIENCE):
            slow = store.read(kept.id, "alice")
            first: Sequence[Event] = await anext(slow)
            for event in events[1:]:
                assert await append(store, kept, [event]) is Verdict.APPENDED
            assert await collect(store, kept) == events
            rest = [event async for batch in slow for event in batch]
        assert [*first, *rest] == events

    async def test_reading_what_is_unknown_ends_at_once(self, store: Store):
        assert await collect(store, record()) == []

    async def test_a_reader_may_leave_at_any_time(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        leaving = asyncio.create_task(collect(store, kept))
        staying = asyncio.create_task(collect(store, kept))
        await append(store, kept, events[:2])
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await append(store, kept, events[2:])
        assert await staying == events

    # Delete

    async def test_what_was_deleted_is_unknown(self, store: Store):
        kept, events = await finished(store)
        assert await store.delete(kept.id, "alice") is True
        assert await store.get(kept.id, "alice") is None
        assert await collect(store, kept) == []
        assert await append(store, kept, events) is Verdict.FENCED
        assert await store.delete(kept.id, "alice") is False

    async def test_a_running_response_can_be_deleted_and_its_followers_end(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        await append(store, kept, events[:2])
        async with asyncio.timeout(PATIENCE):
            follower = store.read(kept.id, "alice")
            seen = list(await anext(follower))
            assert await store.delete(kept.id, "alice") is True
            seen += [event async for batch in follower for event in batch]
        assert seen == events[: len(seen)]
        assert await append(store, kept, events[2:]) is Verdict.FENCED

    async def test_deleting_what_is_unknown_is_false(self, store: Store):
        assert await store.delete("resp_unknown", "alice") is False

    # Owners

    async def test_to_another_owner_a_response_does_not_exist(self, store: Store):
        kept, events = await finished(store)
        assert await store.get(kept.id, "mallory") is None
        assert await store.delete(kept.id, "mallory") is False
        assert await collect(store, replace(kept, owner="mallory")) == []
        assert await collect(store, kept) == events

    async def test_a_running_response_is_hidden_from_others_too(self, store: Store):
        kept = record()
        await store.create(kept)
        await append(store, kept, events_of(kept)[:2])
        for owner in ("mallory", "", "Alice"):
            assert await store.get(kept.id, owner) is None
            assert await collect(store, replace(kept, owner=owner)) == []

    async def test_responses_do_not_touch_each_other(self, store: Store):
        one, other = record(), record()
        await store.create(one)
        await store.create(other)
        mine, others = events_of(one, "a", "b"), events_of(other, "x", "y")
        for pair in zip(mine, others, strict=True):
            await append(store, one, [pair[0]])
            await append(store, other, [pair[1]])
        await store.delete(other.id, "alice")
        assert await collect(store, one) == mine
