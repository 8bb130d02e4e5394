"""What every store promises: one suite, run by each implementation.

A subclass gives the fixtures ``store``, an open ``Store`` that knows ``OWNERS``, and ``expire``,
which lets the lease of a response run out.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from store.ledger_contract import LedgerContract
from support.hang import HANG_SECONDS
from support.scripted_upstream import answer

from ws_bridge.protocol.events import COMPLETED, IN_PROGRESS, Draft, Event
from ws_bridge.protocol.reducer import Reducer, fold
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer, end_for
from ws_bridge.store.base import (
    KEY_BYTES,
    MAX_ANCESTORS,
    MAX_ATTEMPTS,
    Claim,
    KeyHold,
    Lease,
    Owners,
    Receipt,
    Record,
    Store,
    Verdict,
    Write,
)

Expire = Callable[[Record], Awaitable[None]]


ITEM = {"type": "message", "role": "user", "content": "hi"}


# Carol has had two other names before.
CAROL, BEFORE = "carol", ("carol-2", "carol-1")
OWNERS = Owners([("dave", "dave-1"), (CAROL, *BEFORE)])

CANARY = "side-canary"
SIDE_DATA = {"blocks": [{"type": "server_tool_use", "secret": CANARY + "\0ü" * 999}], "n": 2**53}

REQUEST = {"model": "m", "input": "hi", "background": True}


def record(owner: str = "alice", **fields: Any) -> Record:
    kept = Record("resp_" + secrets.token_hex(24), owner, (ITEM,), "openai|", "resp_0")
    return replace(kept, **fields)


def rerunnable(**fields: Any) -> Record:
    """May be generated again after a crash: only readers of the store can have seen output."""
    return record(background=True, request=REQUEST, may_run_again=True, **fields)


def events_of(kept: Record, *deltas: str) -> list[Event]:
    """A whole response, as a job would append it."""
    sequencer = Sequencer(Envelope(kept.id, "m", 1_795_200_000), None, lambda: 1_795_200_001.0)
    drafts = answer(*(deltas or ("Hel", "lo")))
    return sequencer.sequence(drafts)


async def collect(store: Store, kept: Record, after: int = -1) -> list[Event]:
    """What a reader gets until it is over."""
    async with asyncio.timeout(HANG_SECONDS):
        reader = store.read(kept.id, kept.owner, after=after)
        return [event async for batch in reader for event in batch]


async def append(store: Store, kept: Record, events: Sequence[Event], fence: int = 1) -> Verdict:
    """One write of the record's first writer, or of the one with the given fence."""
    [receipt] = await store.append([Write(Lease(kept.id, fence), events)])
    return receipt.verdict


async def write(store: Store, kept: Record, *events: Event, **fields: Any) -> Receipt:
    """One write of the first writer, with any field of a write."""
    [receipt] = await store.append([Write(Lease(kept.id, 1), events, **fields)])
    return receipt


async def taken(store: Store, kept: Record, expire: Expire) -> Claim:
    """The response, claimed."""
    await expire(kept)
    claim = await store.claim(kept.id)
    assert claim is not None
    return claim


async def until_cancelled(cancelled_ids: list[str], store: Store, kept: Record) -> None:
    """Cancel until the callback is called: a hint may be lost."""
    async with asyncio.timeout(HANG_SECONDS):
        while kept.id not in cancelled_ids:
            await store.cancel(kept.id, kept.owner)
            await asyncio.sleep(0.01)


def with_hole(events: Sequence[Event], cut: int) -> list[Event]:
    """What a writer sends that had to drop what came before number ``cut``, that one included."""
    so_far = Reducer().fold(events[: cut + 1]).response()
    hole = Draft(IN_PROGRESS, {"response": so_far, "gap": {"after": 1, "until": cut}})
    return [Event.of(hole, cut, None), *events[cut + 1 :]]


async def grow_chain(store: Store, length: int) -> list[Record]:
    """So many finished turns, each the continuation of the one before; the first one first."""
    turns: list[Record] = []
    for _ in range(length):
        ancestors = tuple(turn.id for turn in reversed(turns[-MAX_ANCESTORS:]))
        previous = ancestors[0] if ancestors else None
        kept = record(previous_response_id=previous, ancestors=ancestors)
        await store.create(kept)
        assert await append(store, kept, events_of(kept)) is Verdict.APPENDED
        turns.append(kept)
    return turns


async def chain_ids(store: Store, kept: Record, owner: str = "alice") -> list[str]:
    return [snapshot.record.id for snapshot in await store.get_chain(kept.id, owner)]


def hold(lane: str | None = None) -> KeyHold:
    return KeyHold("resp_" + secrets.token_hex(24), secrets.token_hex(32), lane)


async def finished(store: Store, owner: str = "alice") -> tuple[Record, list[Event]]:
    kept = record(owner)
    events = events_of(kept)
    await store.create(kept)
    assert await append(store, kept, events) is Verdict.APPENDED
    return kept, events


class StoreContract(LedgerContract):
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
        late = [events[2]._replace(number=len(events))]
        assert await append(store, kept, late) is Verdict.ENDED
        assert await append(store, kept, [*events, *late]) is Verdict.ENDED
        assert await collect(store, kept) == events

    # Items by their ids

    async def test_an_item_is_found_from_the_end_of_its_response_on_by_its_owner_alone(
        self, store: Store
    ):
        kept = record(CAROL)
        events = events_of(kept)
        ids = ("msg_1", "a name of any kind é \0")
        await store.create(kept)
        await write(store, kept, *events[:-1], owner=CAROL, item_ids=ids)
        assert await store.find_item("msg_1", CAROL) == ""
        for _ in range(2):
            await write(store, kept, *events, owner=CAROL, item_ids=ids)
        for owner in (CAROL, *BEFORE):
            assert [await store.find_item(one, owner) for one in ids] == [kept.id, kept.id]
        assert await store.find_item("msg_1", "bob") == ""
        assert await store.find_item("msg_2", CAROL) == ""

    async def test_of_two_items_of_one_id_the_latest_is_found_for_each_owner(self, store: Store):
        first, second, other = record(), record(), record("bob")
        for kept in (first, second, other):
            await store.create(kept)
            await write(store, kept, *events_of(kept), owner=kept.owner, item_ids=("msg_1",))
        assert await store.find_item("msg_1", "alice") == second.id
        assert await store.find_item("msg_1", "bob") == other.id

    async def test_an_item_is_not_found_any_more_when_its_response_is_deleted(self, store: Store):
        first, second = record(CAROL), record(CAROL)
        for kept in (first, second):
            await store.create(kept)
            ids = ("msg_both", f"msg_{kept.id}")
            output = [{"type": "message", "id": one, "content": []} for one in ids]
            response = {"id": kept.id, "status": "completed", "output": output}
            *begun, end = events_of(kept)
            end = Event.of(Draft(COMPLETED, {"response": response}), end.number, None)
            await write(store, kept, *begun, end, owner=CAROL, item_ids=ids)
        assert await store.delete(second.id, BEFORE[0])
        for owner in (CAROL, *BEFORE):
            assert await store.find_item(f"msg_{second.id}", owner) == ""
            assert await store.find_item("msg_both", owner) == ""
            assert await store.find_item(f"msg_{first.id}", owner) == first.id

    # Side data

    async def test_side_data_is_stored_with_the_end_and_for_chains_alone(self, store: Store):
        first, second = record(previous_response_id=None), record()
        second = replace(second, previous_response_id=first.id, ancestors=(first.id,))
        for kept, side_data in ((first, SIDE_DATA), (second, None)):
            events = events_of(kept)
            await store.create(kept, events[:1])
            receipt = await write(store, kept, *events[1:], side_data=side_data)
            assert receipt.verdict is Verdict.APPENDED
            assert await collect(store, kept) == events
            snapshot = await store.get(kept.id, "alice")
            assert snapshot is not None
            assert snapshot.side_data is None
            assert CANARY not in repr(snapshot)
        chain = await store.get_chain(second.id, "alice")
        assert [one.side_data for one in chain] == [None, SIDE_DATA]
        assert [one.side_data for one in await store.get_chain(first.id, "alice")] == [SIDE_DATA]
        assert await store.get_chain(first.id, "bob") == []

    async def test_side_data_of_a_write_that_ends_nothing_is_not_stored(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept, events[:1])
        await write(store, kept, *events[1:-1], side_data=SIDE_DATA)
        [running] = await store.get_chain(kept.id, "alice")
        assert running.side_data is None
        await write(store, kept, *events)  # its end has none
        late = await write(store, kept, *events, side_data=SIDE_DATA)
        assert late.verdict is Verdict.DUPLICATE
        [ended] = await store.get_chain(kept.id, "alice")
        assert (ended.status, ended.side_data) == ("completed", None)

    async def test_the_end_may_be_sent_again_with_its_side_data(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        for verdict in (Verdict.APPENDED, Verdict.DUPLICATE):
            assert (await write(store, kept, *events, side_data=SIDE_DATA)).verdict is verdict
        assert [one.side_data for one in await store.get_chain(kept.id, "alice")] == [SIDE_DATA]

    async def test_an_end_after_a_gap_has_its_side_data(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept, events[:2])
        hole = with_hole(events, 4)
        receipt = await write(store, kept, *hole, has_gap=True, side_data=SIDE_DATA)
        assert receipt.verdict is Verdict.APPENDED
        assert [one.side_data for one in await store.get_chain(kept.id, "alice")] == [SIDE_DATA]

    async def test_a_failed_response_has_no_side_data(self, store: Store):
        kept = record()
        events = events_of(kept)[:3]
        end = end_for(kept.id, events, None)
        await store.create(kept)
        receipt = await write(store, kept, *events, end, side_data=SIDE_DATA)
        assert receipt.verdict is Verdict.APPENDED
        [ended] = await store.get_chain(kept.id, "alice")
        assert (ended.status, ended.side_data) == ("cancelled", None)

    async def test_a_fenced_writer_writes_no_side_data(self, store: Store, expire: Expire):
        kept = rerunnable()
        events = events_of(kept)
        await store.create(kept, events[:1])
        claim = await taken(store, kept, expire)
        fenced = await write(store, kept, *events[1:], side_data=SIDE_DATA)
        assert fenced.verdict is Verdict.FENCED
        assert await append(store, kept, events[1:], claim.lease.fence) is Verdict.APPENDED
        assert [one.side_data for one in await store.get_chain(kept.id, "alice")] == [None]

    async def test_side_data_is_deleted_with_its_response(self, store: Store):
        kept = record()
        await store.create(kept)
        await write(store, kept, *events_of(kept), side_data=SIDE_DATA)
        assert await store.delete(kept.id, "alice")
        assert await store.get_chain(kept.id, "alice") == []

    @pytest.mark.parametrize("at", [0, 2, -1])
    async def test_the_maker_is_that_of_the_last_write_while_it_runs(self, store: Store, at: int):
        kept = record()
        events = events_of(kept)
        answered = replace(kept, maker="anthropic|elsewhere")
        lease = await store.create(kept)
        for event in events:
            written = answered if event is events[at] else None
            [receipt] = await store.append([Write(lease, [event], record=written)])
            assert receipt.verdict is Verdict.APPENDED
        await store.append([Write(lease, events[-1:], record=kept)])  # too late: it has ended
        for snapshot in (
            await store.get(kept.id, "alice"),
            (await store.get_chain(kept.id, "alice"))[0],
        ):
            assert snapshot is not None
            assert snapshot.record == answered
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
        deltas = [f"{number} " for number in range(4)]
        for joined in range(len(events_of(record(), *deltas)) + 1):
            kept = record()
            events = events_of(kept, *deltas)
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

    async def test_a_slow_reader_holds_up_no_other_and_misses_nothing(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        await append(store, kept, events[:1])
        async with asyncio.timeout(HANG_SECONDS):
            slow = store.read(kept.id, "alice")
            first: Sequence[Event] = await anext(slow)
            for event in events[1:]:
                assert await append(store, kept, [event]) is Verdict.APPENDED
            assert await collect(store, kept) == events
            rest = [event async for batch in slow for event in batch]
        assert [*first, *rest] == events

    @pytest.mark.catalogue("A7")
    async def test_a_reader_is_given_a_little_at_a_time(self, store: Store):
        """It holds that for as long as its client does not read, and there are many of them."""
        kept = record()
        events = events_of(kept, *("x" * 4000 for _ in range(2500)))
        await store.create(kept)
        await append(store, kept, events[:-1])
        await append(store, kept, events[-1:])
        async with asyncio.timeout(HANG_SECONDS):
            batches = [batch async for batch in store.read(kept.id, "alice")]
        assert [event for batch in batches for event in batch] == events
        deltas = [[event for event in batch if "delta" in event.type] for batch in batches]
        assert max(sum(len(event.text) for event in batch) for batch in deltas) < 2 * 2**20

    async def test_reading_what_is_unknown_ends_at_once(self, store: Store):
        assert await collect(store, record()) == []

    async def test_a_reader_may_leave_at_any_time(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        early_reader = asyncio.create_task(collect(store, kept))
        staying = asyncio.create_task(collect(store, kept))
        await append(store, kept, events[:2])
        early_reader.cancel()
        await asyncio.gather(early_reader, return_exceptions=True)
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
        async with asyncio.timeout(HANG_SECONDS):
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

    # Create with events

    async def test_the_first_events_are_there_with_the_creation(self, store: Store):
        kept = record()
        events = events_of(kept)
        assert await store.create(kept, events[:2]) == Lease(kept.id, 1)
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        assert (snapshot.number, snapshot.response) == (1, fold(events[:2]))
        await store.create(kept, events[:2])
        assert await append(store, kept, events[2:]) is Verdict.APPENDED
        assert await collect(store, kept) == events

    async def test_first_events_may_be_large_or_many(self, store: Store):
        """Both opening events carry the instructions and tools, however long they are."""
        kept = record()
        response = {"id": kept.id, "status": "in_progress", "instructions": "x" * 50_000}
        large = [Event.of(Draft(IN_PROGRESS, {"response": response}), at, None) for at in range(3)]
        await store.create(kept, large)
        assert (await write(store, kept)).last_number == 2
        many = record()
        events = events_of(many, *map(str, range(300)))
        await store.create(many, events[:-1])
        assert await append(store, many, events[-1:]) is Verdict.APPENDED
        assert await collect(store, many) == events

    async def test_a_creation_under_a_higher_fence_restores_what_was_lost(self, store: Store):
        """Its writer goes on under that fence; a copy of the same writer from before is refused."""
        kept = record()
        events = events_of(kept)
        assert await append(store, kept, events[:3]) is Verdict.GONE
        assert await store.create(kept, (), fence=2) == Lease(kept.id, 2)
        assert await append(store, kept, events[:3]) is Verdict.FENCED
        assert await append(store, kept, events, fence=2) is Verdict.APPENDED
        assert await collect(store, kept) == events

    async def test_an_odd_id_is_nothing_but_unknown(self, store: Store):
        for odd in (
            "",
            " ",
            "a b",
            "\n",
            "{p1}:m:x",
            "*",
            "]]'\"--",
            "\0",
            "ü" * 300,
            "9" * 10_000,
        ):
            assert await store.get(odd, "alice") is None
            assert await store.get_chain(odd, "alice") == []
            assert await collect(store, replace(record(), id=odd)) == []
            assert await store.delete(odd, "alice") is False
            assert await store.claim(odd) is None
            await store.cancel(odd, "alice")

    # Many at once

    async def test_of_many_writes_at_once_each_has_its_own_answer(self, store: Store):
        kept = [record() for _ in range(300)]
        events = [events_of(one) for one in kept]
        for one in kept[:-1]:
            await store.create(one)
        writes = [
            Write(Lease(one.id, 1), written[number % 2 :])
            for number, (one, written) in enumerate(zip(kept, events, strict=True))
        ]
        writes.append(Write(Lease(kept[0].id, 1), events[0]))
        verdicts = [receipt.verdict for receipt in await store.append(writes)]
        pairs = [Verdict.APPENDED, Verdict.GAP] * 150
        assert verdicts == [*pairs[:-1], Verdict.GONE, Verdict.DUPLICATE]
        for number in (0, 128, 256):
            assert await collect(store, kept[number]) == events[number]
        assert await store.append([]) == []

    async def test_a_receipt_has_the_last_number_of_the_log(self, store: Store):
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        assert (await write(store, kept)).last_number == -1
        assert (await write(store, kept, *events[:3])).last_number == 2
        assert (await write(store, kept, *events[:2])).last_number == 2
        assert (await write(store, kept, *events[5:])).last_number == 2
        assert (await write(store, kept)).last_number == 2

    # Gaps

    async def test_a_declared_gap_is_written_and_readers_see_it(self, store: Store):
        kept = record()
        events = events_of(kept, *"abcdef")
        await store.create(kept, events[:2])
        follower = asyncio.create_task(collect(store, kept))
        late = with_hole(events, 6)
        assert (await write(store, kept, *late[:-2], has_gap=True)).verdict is Verdict.APPENDED
        assert (await write(store, kept, *late[:-2], has_gap=True)).verdict is Verdict.DUPLICATE
        assert (await write(store, kept, *late[-2:])).verdict is Verdict.APPENDED
        assert await follower == [*events[:2], *late]
        for cut in range(-1, len(events)):
            seen = [event for event in [*events[:2], *late] if event.number > cut]
            assert await collect(store, kept, cut) == seen

    async def test_a_snapshot_after_a_gap_has_the_output_lost_in_it(self, store: Store):
        kept = record()
        events = events_of(kept, *"abcdef")
        await store.create(kept, events[:5])
        before = await store.get(kept.id, "alice")
        assert before is not None
        await write(store, kept, *with_hole(events, 8)[:2], has_gap=True)
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        assert (snapshot.number, snapshot.response) == (9, fold(events[:10]))

    async def test_a_gap_that_comes_with_the_end_is_written_too(self, store: Store):
        kept = record()
        events = events_of(kept)
        late = with_hole(events, 4)
        await store.create(kept, events[:2])
        assert (await write(store, kept, *late, has_gap=True)).verdict is Verdict.APPENDED
        assert (await write(store, kept, *late, has_gap=True)).verdict is Verdict.DUPLICATE
        assert await collect(store, kept) == [*events[:2], *late]
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        assert snapshot.response == fold(events)

    async def test_output_before_a_gap_is_not_repeated(self, store: Store):
        """The gap was declared for more than the store turned out to lack."""
        kept = record()
        events = events_of(kept, *"abcdef")
        await store.create(kept, events[:5])
        late = with_hole(events, 3)
        assert (await write(store, kept, *late, has_gap=True)).verdict is Verdict.APPENDED
        assert await collect(store, kept) == events

    # Leases and fences

    async def test_while_its_lease_holds_a_response_cannot_be_claimed(self, store: Store):
        kept = rerunnable()
        await store.create(kept)
        assert await store.claim(kept.id) is None
        assert kept.id not in await store.find_overdue()
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        assert not snapshot.is_overdue
        assert await append(store, kept, events_of(kept)) is Verdict.APPENDED

    async def test_a_lease_that_ran_out_makes_it_overdue(self, store: Store, expire: Expire):
        kept = record()
        await store.create(kept)
        await expire(kept)
        assert kept.id in await store.find_overdue()
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        assert snapshot.is_overdue
        assert not snapshot.is_terminal

    async def test_a_claim_has_all_there_is(self, store: Store, expire: Expire):
        kept = rerunnable()
        events = events_of(kept)
        await store.create(kept, events[:2])
        claim = await taken(store, kept, expire)
        assert claim == Claim(Lease(kept.id, 2), kept, claim.events, False, True, "")
        assert list(claim.events) == events[:2]

    async def test_a_claim_has_the_whole_log_however_long(self, store: Store, expire: Expire):
        kept = record()
        events = events_of(kept, *map(str, range(300)))
        await store.create(kept)
        await store.append([Write(Lease(kept.id, 1), [event]) for event in events[:-1]])
        assert list((await taken(store, kept, expire)).events) == events[:-1]

    async def test_only_one_of_many_gets_the_claim(self, store: Store, expire: Expire):
        kept = record()
        await store.create(kept)
        await expire(kept)
        claims = await asyncio.gather(*(store.claim(kept.id) for _ in range(20)))
        assert len([claim for claim in claims if claim]) == 1
        assert kept.id not in await store.find_overdue()

    async def test_after_a_claim_the_writer_before_is_refused(self, store: Store, expire: Expire):
        kept = rerunnable()
        events = events_of(kept)
        await store.create(kept, events[:2])
        claim = await taken(store, kept, expire)
        for late in (events[2:3], events[:1], events, []):
            assert await append(store, kept, late) is Verdict.FENCED
        await store.release(Lease(kept.id, 1))
        assert kept.id not in await store.find_overdue()
        assert await append(store, kept, events[2:], claim.lease.fence) is Verdict.APPENDED
        assert await append(store, kept, events[2:]) is Verdict.FENCED
        assert await collect(store, kept) == events

    async def test_who_claims_can_lose_it_again(self, store: Store, expire: Expire):
        kept = record()
        await store.create(kept)
        fences = [(await taken(store, kept, expire)).lease.fence for _ in range(3)]
        assert fences == [2, 3, 4]
        for fence in (1, 2, 3):
            assert await append(store, kept, [], fence) is Verdict.FENCED
        assert await append(store, kept, [], 4) is Verdict.DUPLICATE

    async def test_followers_go_on_through_a_claim(self, store: Store, expire: Expire):
        kept = record()
        events = events_of(kept)
        await store.create(kept, events[:2])
        followers = [asyncio.create_task(collect(store, kept, cut)) for cut in (-1, 0, 1)]
        await asyncio.sleep(0)
        claim = await taken(store, kept, expire)
        await append(store, kept, events[2:], claim.lease.fence)
        assert await asyncio.gather(*followers) == [events, events[1:], events[2:]]

    async def test_a_writer_that_was_not_replaced_renews_its_lease(
        self, store: Store, expire: Expire
    ):
        """Be it with events, with none, or with what was there already."""
        kept = record()
        events = events_of(kept)
        await store.create(kept)
        for written in (events[:2], [], events[:2]):
            await expire(kept)
            await append(store, kept, written)
            assert kept.id not in await store.find_overdue()
            assert await store.claim(kept.id) is None

    async def test_an_ended_response_cannot_be_claimed(self, store: Store, expire: Expire):
        done, _ = await finished(store)
        deleted = record()
        await store.create(deleted)
        await expire(deleted)
        await store.delete(deleted.id, "alice")
        for kept in (done, deleted, record()):
            assert await store.claim(kept.id) is None
            assert kept.id not in await store.find_overdue()

    async def test_what_is_given_back_is_overdue_at_once(self, store: Store):
        kept = rerunnable()
        events = events_of(kept)
        lease = await store.create(kept, events[:2])
        await store.release(replace(lease, fence=7))
        assert kept.id not in await store.find_overdue()
        await store.release(lease)
        assert kept.id in await store.find_overdue()
        claim = await store.claim(kept.id)
        assert claim is not None
        assert claim.may_run
        assert await append(store, kept, events[2:]) is Verdict.FENCED
        await store.release(lease)
        assert kept.id not in await store.find_overdue()

    async def test_giving_back_what_is_over_is_nothing(self, store: Store):
        kept, events = await finished(store)
        await store.release(Lease(kept.id, 1))
        await store.release(Lease("resp_unknown", 1))
        assert kept.id not in await store.find_overdue()
        assert await collect(store, kept) == events

    @pytest.mark.parametrize(
        ("fields", "seen", "upstream_id", "is_cancelled", "may_run"),
        [
            ({}, 0, "", False, True),
            ({}, 2, "", False, True),
            ({}, 3, "", False, False),  # its output was seen
            ({}, 2, "", True, False),
            ({}, 4, "up_1", False, True),  # the provider goes on by itself
            ({}, 4, "up_1", True, False),
            ({"may_run_again": False}, 0, "", False, False),
            ({"may_run_again": False}, 4, "up_1", False, True),
            ({"request": None}, 0, "", False, False),
            ({"request": None}, 2, "up_1", False, False),  # the create is not known
        ],
    )
    async def test_a_claim_has_whether_the_response_may_be_generated(  # noqa: PLR0917 - a table's columns
        self, store: Store, expire: Expire, fields, seen, upstream_id, is_cancelled, may_run
    ):
        kept = replace(rerunnable(), **fields)
        events = events_of(kept)
        await store.create(kept, events[: min(seen, 2)])
        await write(store, kept, *events[min(seen, 2) : seen], upstream_id=upstream_id)
        if is_cancelled:
            await store.cancel(kept.id, "alice")
        claim = await taken(store, kept, expire)
        assert (claim.may_run, claim.upstream_id) == (may_run, upstream_id)
        assert (claim.is_cancelled, list(claim.events)) == (is_cancelled, events[:seen])

    async def test_attempts_are_counted(self, store: Store, expire: Expire):
        kept = rerunnable()
        await store.create(kept)
        claims = [await taken(store, kept, expire) for _ in range(MAX_ATTEMPTS)]
        assert [claim.may_run for claim in claims] == [True] * (MAX_ATTEMPTS - 1) + [False]

    async def test_the_providers_id_stays_until_another_comes(self, store: Store, expire: Expire):
        kept = rerunnable()
        await store.create(kept)
        for written in ("up_1", "", "up_2", ""):
            await write(store, kept, upstream_id=written)
        assert (await taken(store, kept, expire)).upstream_id == "up_2"

    async def test_a_write_can_put_another_record_in_its_place(self, store: Store, expire: Expire):
        """Another target answers than the one it began with."""
        kept = rerunnable()
        events = events_of(kept)
        other = replace(kept, maker="other|")
        await store.create(kept, events[:2])
        await write(store, kept, *events[2:4], record=other)
        await write(store, kept, *events[4:5])
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        assert (snapshot.record, snapshot.response) == (other, fold(events[:5]))
        assert (await taken(store, kept, expire)).record == other
        assert (await write(store, kept, record=kept)).verdict is Verdict.FENCED
        snapshot = await store.get(kept.id, "alice")
        assert snapshot is not None
        assert snapshot.record == other

    # Cancel

    async def test_a_cancel_reaches_the_writer(self, store: Store):
        cancelled_ids: list[str] = []
        store.set_callbacks(on_cancelled=cancelled_ids.append, on_followed=lambda _: None)
        kept, other = record(), record()
        await store.create(kept)
        await store.create(other)
        assert not (await write(store, kept)).is_cancelled
        await until_cancelled(cancelled_ids, store, kept)
        assert set(cancelled_ids) == {kept.id}
        assert (await write(store, kept)).is_cancelled
        assert (await write(store, kept, *events_of(kept)[:3])).is_cancelled
        assert not (await write(store, other)).is_cancelled

    async def test_a_cancel_of_another_owner_or_after_the_end_has_no_effect(self, store: Store):
        cancelled_ids: list[str] = []
        store.set_callbacks(on_cancelled=cancelled_ids.append, on_followed=lambda _: None)
        done, events = await finished(store)
        kept = record()
        await store.create(kept)
        await store.cancel(done.id, "alice")
        await store.cancel("resp_unknown", "alice")
        for stranger in ("mallory", "", "Alice"):
            await store.cancel(kept.id, stranger)
        last = record()
        await store.create(last)
        await until_cancelled(cancelled_ids, store, last)
        assert set(cancelled_ids) == {last.id}
        assert not (await write(store, kept)).is_cancelled
        assert await collect(store, done) == events

    # Chains

    async def test_a_chain_comes_whole_and_the_latest_first(self, store: Store):
        turns = await grow_chain(store, 40)
        for length in (1, 2, MAX_ANCESTORS, MAX_ANCESTORS + 1, MAX_ANCESTORS + 2, 34, 35, 40):
            chain = await store.get_chain(turns[length - 1].id, "alice")
            assert [snapshot.record for snapshot in chain] == turns[:length][::-1]
        assert [snapshot.response for snapshot in chain[:2]] == [
            fold(events_of(turn)) for turn in (turns[-1], turns[-2])
        ]

    async def test_a_chain_ends_where_a_turn_is_missing(self, store: Store):
        turns = await grow_chain(store, 20)
        await store.delete(turns[1].id, "alice")
        assert await chain_ids(store, turns[-1]) == [turn.id for turn in turns[:1:-1]]
        await store.delete(turns[12].id, "alice")
        assert await chain_ids(store, turns[-1]) == [turn.id for turn in turns[:12:-1]]
        assert await chain_ids(store, turns[12]) == []

    async def test_a_chain_of_a_stranger_is_empty(self, store: Store):
        [turn] = await grow_chain(store, 1)
        own = record("mallory", previous_response_id=turn.id, ancestors=(turn.id,))
        await store.create(own)
        assert await chain_ids(store, turn, "mallory") == []
        assert await chain_ids(store, own, "mallory") == [own.id]

    async def test_a_turn_that_still_runs_is_part_of_its_chain(self, store: Store):
        [first] = await grow_chain(store, 1)
        running = record(previous_response_id=first.id, ancestors=(first.id,))
        await store.create(running, events_of(running)[:4])
        ancestors = (running.id, first.id)
        last = record(previous_response_id=running.id, ancestors=ancestors)
        await store.create(last)
        assert await chain_ids(store, last) == [last.id, running.id, first.id]

    # Owners that had other names

    @pytest.mark.catalogue("A14")
    @pytest.mark.parametrize("name", [CAROL, *BEFORE])
    async def test_an_owner_has_all_that_was_its_own_under_any_of_its_names(
        self, store: Store, name: str
    ):
        first, events = await finished(store, name)
        kept = record(name, previous_response_id=first.id, ancestors=(first.id,))
        await store.create(kept)
        await append(store, kept, events_of(kept)[:2])
        for asked in (CAROL, *BEFORE):
            snapshot = await store.get(first.id, asked)
            assert snapshot is not None
            assert snapshot.is_terminal
            assert await chain_ids(store, kept, asked) == [kept.id, first.id]
            assert await collect(store, replace(first, owner=asked)) == events
        for stranger in ("dave", "dave-1", "carol-3", "", " "):
            assert await store.get(first.id, stranger) is None
            assert await store.get_chain(kept.id, stranger) == []
            assert not await store.delete(first.id, stranger)
        cancelled_ids: list[str] = []
        store.set_callbacks(on_cancelled=cancelled_ids.append, on_followed=lambda _: None)
        await until_cancelled(cancelled_ids, store, replace(kept, owner=CAROL))
        assert await store.delete(first.id, CAROL)
        assert await store.get(first.id, name) is None

    @pytest.mark.catalogue("A14")
    async def test_what_was_begun_under_an_earlier_name_is_taken_over(
        self, store: Store, expire: Expire
    ):
        kept = rerunnable(owner=BEFORE[-1])
        await store.create(kept)
        claim = await taken(store, kept, expire)
        assert claim.record.owner in (CAROL, *BEFORE)
        assert await append(store, kept, events_of(kept), claim.lease.fence) is Verdict.APPENDED
        assert await store.get(kept.id, CAROL) is not None

    # Idempotency keys

    async def test_a_key_stands_for_the_first_response_that_acquires_it(self, store: Store):
        key, first, other = secrets.token_hex(8), hold("main"), hold()
        assert await store.find_key(key, "alice") is None
        assert await store.acquire_key(key, "alice", first) == first
        assert await store.acquire_key(key, "alice", first) == first  # again: nothing changes
        assert await store.acquire_key(key, "alice", other) == first
        begun = replace(first, is_begun=True)
        assert await store.acquire_key(key, "alice", begun) == begun
        assert await store.acquire_key(key, "alice", other) == begun
        assert await store.find_key(key, "alice") == begun

    async def test_of_many_that_acquire_a_key_at_once_one_has_it(self, store: Store):
        key = secrets.token_hex(8)
        known = [hold() for _ in range(20)]
        held = await asyncio.gather(*(store.acquire_key(key, "alice", one) for one in known))
        assert set(held) <= set(known)
        assert len(set(held)) == 1

    async def test_only_the_very_hold_of_a_key_is_released(self, store: Store):
        key, pending = secrets.token_hex(8), hold()
        begun = replace(pending, is_begun=True)
        await store.release_key(key, "alice", pending)  # there is none
        await store.acquire_key(key, "alice", begun)
        for other in (pending, replace(hold(), is_begun=True)):
            await store.release_key(key, "alice", other)
            assert await store.find_key(key, "alice") == begun
        await store.release_key(key, "alice", begun)
        assert await store.find_key(key, "alice") is None
        assert await store.acquire_key(key, "alice", pending) == pending

    async def test_a_key_is_its_owners_under_any_of_its_names(self, store: Store):
        key, ours = secrets.token_hex(8), hold()
        for stranger in ("dave", "alice"):
            theirs = hold()
            assert await store.acquire_key(key, stranger, theirs) == theirs
        for name in (BEFORE[0], CAROL):
            assert await store.acquire_key(key, name, ours) == ours
        for name in (CAROL, *BEFORE):
            assert await store.find_key(key, name) == ours
        await store.release_key(key, BEFORE[1], ours)
        assert await store.find_key(key, CAROL) is None
        assert await store.find_key(key, "dave") is not None

    @pytest.mark.parametrize("key", [" ", "a b", "{x}", "k" * 255, "\\'\""])
    async def test_any_text_is_a_key(self, store: Store, key: str):
        kept = hold("lane.1")
        owner = secrets.token_hex(8)
        assert await store.acquire_key(key, owner, kept) == kept
        assert await store.find_key(key, owner) == kept
        assert await store.find_key(key + "x", owner) is None

    async def test_the_key_of_a_store_stays_the_same(self, store: Store):
        assert len(store.shared_key()) == KEY_BYTES
        assert store.shared_key() == store.shared_key()

    async def test_what_a_claimed_response_is_booked_to_comes_with_the_claim(
        self, store: Store, expire: Expire
    ):
        kept = rerunnable(key_name="team-a", entry="gpt-*")
        await store.create(kept, events_of(kept)[:1])
        claim = await taken(store, kept, expire)
        assert (claim.record.key_name, claim.record.entry) == ("team-a", "gpt-*")
