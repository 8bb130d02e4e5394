"""What every store of conversations promises, and the limits of the one in memory."""

import asyncio
import random
from dataclasses import replace

import pytest
from store.contract import BEFORE, CAROL, OWNERS
from store.opened import opened

from ws_bridge.errors import ConversationFull, StoreUnavailable
from ws_bridge.protocol.conversation import (
    Conversation,
    ConversationEntry,
    entries_of,
    entries_of_response,
    new_conversation_id,
)
from ws_bridge.store.conversations import (
    OVERHEAD,
    PART_BYTES,
    ConversationLimits,
    MemoryConversations,
    positions,
)
from ws_bridge.store.redis.conversations import RedisConversations

TTL_SECONDS = 60.0
ITEM = {"type": "message", "role": "user", "content": "hi"}
ODD = ["a/b+c==", "x" * 300, "a\nb", "a", "é\x00\r", '"', "\\", "msg_1_0", "-1", "*"]


def new(*entries, **fields):
    one = Conversation(new_conversation_id(), "alice", 1_795_200_000, {"topic": "herons"}, entries)
    return replace(one, **fields)


def entry(item_id, text="hi", **known):
    return ConversationEntry(item_id, {**ITEM, "content": text}, **known)


async def created(kept, *entries, **fields):
    one = new(*entries, **fields)
    await kept.create(one)
    return one


class Hand:
    """A clock turned by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class ConversationsContract:
    """A subclass gives the fixture ``kept``, and ``let_pass``, which lets seconds pass for it."""

    async def test_what_was_created_is_there(self, kept):
        one = await created(kept, *entries_of([ITEM, ITEM]))
        assert await kept.get(one.id, "alice") == one

    async def test_one_without_items_is_one_too(self, kept):
        one = await created(kept, metadata={})
        assert await kept.get(one.id, "alice") == one

    async def test_a_repeated_creation_changes_nothing(self, kept):
        one = await created(kept, entry("a"))
        await kept.create(one)
        assert await kept.get(one.id, "alice") == one

    async def test_an_item_is_kept_with_all_that_is_known_of_it(self, kept):
        one = await created(kept)
        output_item = {"type": "reasoning", "id": "rs", "summary": [], "x": [1.5, None, "é\u2028"]}
        entries = entries_of_response("resp_1", [ITEM], [output_item], "openai|https://there")
        assert await kept.add(one.id, "alice", entries) == [each.id for each in entries]
        assert (await kept.get(one.id, "alice")).entries == entries

    async def test_items_stay_in_the_order_in_which_they_came(self, kept):
        one = await created(kept, entry("0"))
        for number in range(1, 10, 3):
            more = [entry(str(number + step)) for step in range(3)]
            assert await kept.add(one.id, "alice", more) == [each.id for each in more]
        ids = [each.id for each in (await kept.get(one.id, "alice")).entries]
        assert ids == [str(number) for number in range(10)]

    async def test_items_of_two_that_add_at_once_do_not_mix(self, kept):
        one = await created(kept)
        groups = [[entry(f"{name}{number}") for number in range(5)] for name in "abcdefgh"]
        await asyncio.gather(*(kept.add(one.id, "alice", group) for group in groups))
        ids = [each.id for each in (await kept.get(one.id, "alice")).entries]
        assert len(ids) == 40
        for start in range(0, 40, 5):
            assert ids[start : start + 5] == [f"{ids[start][0]}{number}" for number in range(5)]

    async def test_many_items_are_no_trouble(self, kept):
        one = await created(kept, *(entry(f"a{number}") for number in range(250)))
        await kept.add(one.id, "alice", [entry(f"b{number}", "x" * 2000) for number in range(250)])
        entries = (await kept.get(one.id, "alice")).entries
        assert [each.id for each in entries[::249]] == ["a0", "a249", "b248"]
        assert len(entries) == 500
        assert entries[-1].item["content"] == "x" * 2000

    async def test_a_large_item_is_no_trouble(self, kept):
        large = entry("a", "".join(chr(number % 1000 + 32) for number in range(200_000)))
        one = await created(kept, large)
        assert (await kept.get(one.id, "alice")).entries == (large,)

    async def test_the_same_addition_comes_once(self, kept):
        """A call whose answer was lost is repeated."""
        one = await created(kept)
        first = entries_of_response("resp_1", [ITEM], [{**ITEM, "id": "m"}], "openai|")
        second = entries_of_response("resp_2", [ITEM], [{**ITEM, "id": "m"}], "openai|")
        ids = [
            tuple(await kept.add(one.id, "alice", entries))
            for entries in (first, first, second, first, second)
        ]
        assert ids[0] == ids[1] == ids[3]
        assert ids[2] == ids[4]
        listed = (await kept.get(one.id, "alice")).entries
        assert tuple(each.id for each in listed) == ids[0] + ids[2]
        assert [each.response for each in listed] == ["resp_1"] * 2 + ["resp_2"] * 2

    async def test_a_taken_id_gives_way_and_the_item_stays_as_it_was(self, kept):
        """Some providers call the first message of every response the same."""
        own = {"id": "msg_1", "type": "message", "role": "assistant", "content": "yes"}
        one = await created(kept, *entries_of_response("resp_1", [], [own, own], "openai|"))
        ids = await kept.add(one.id, "alice", entries_of_response("resp_2", [], [own], "openai|"))
        assert ids == ["msg_2_out_0"]
        entries = (await kept.get(one.id, "alice")).entries
        assert [each.id for each in entries] == ["msg_1", "msg_2_out_0"]
        assert [each.item for each in entries] == [own, own]
        assert await kept.remove(one.id, "alice", "msg_1")
        assert [each.id for each in (await kept.get(one.id, "alice")).entries] == ids

    async def test_what_a_client_sends_again_is_there_once_what_it_changed_is_another(self, kept):
        one = await created(kept)
        item, other = {**ITEM, "id": "a"}, {**ITEM, "id": "a", "content": "other words"}
        for items in ([item], [item, ITEM], [other]):
            ids = await kept.add(one.id, "alice", entries_of(items))
            assert ids[0] == "a" or items == [other]
        contents = [each.item["content"] for each in (await kept.get(one.id, "alice")).entries]
        assert contents == ["hi", "hi", "other words"]

    async def test_nothing_to_add_is_added(self, kept):
        one = await created(kept, entry("a"))
        assert await kept.add(one.id, "alice", []) == []
        assert await kept.get(one.id, "alice") == one

    async def test_a_page_begins_anywhere_and_goes_either_way(self, kept):
        entries = tuple(entry(str(number), "x" * 3000) for number in range(400))
        one = await created(kept, *entries)

        async def page(start, count, *, newest_first):
            part = await kept.page(
                one.id, "alice", start=start, count=count, newest_first=newest_first
            )
            end = (start if start is not None else 399 if newest_first else 0) + (
                -count if newest_first else count
            )
            assert part.has_more == (0 <= end < 400 and bool(part.entries))
            return part.entries

        assert tuple(await page(None, 3, newest_first=False)) == entries[:3]
        assert tuple(await page(None, 3, newest_first=True)) == entries[:-4:-1]
        assert tuple(await page(250, 101, newest_first=False)) == entries[250:351]
        assert tuple(await page(250, 101, newest_first=True)) == entries[250:149:-1]
        assert tuple(await page(398, 9, newest_first=False)) == entries[398:]
        assert tuple(await page(1, 9, newest_first=True)) == entries[1::-1]
        for start, newest_first in ((-1, True), (400, False)):
            assert not await page(start, 9, newest_first=newest_first)

    @pytest.mark.catalogue("A6")
    @pytest.mark.parametrize("text", ["x", "\U0001f600", "random"])
    async def test_a_page_ends_with_the_item_that_makes_it_large(self, kept, text):
        """However well it packs: it is there as objects and as JSON, and ten at once were 1 GiB."""
        size = PART_BYTES // 3 + 1
        dice = random.Random(5)  # noqa: S311 - a seed, so that it can be told again
        said = dice.randbytes(size // 2 + 1).hex() if text == "random" else text * size
        said = said[: size // len(text.encode())] if text != "random" else said[:size]
        entries = tuple(entry(str(number), said[number:]) for number in range(5))
        one = await created(kept, *entries)
        seen, place, has_more = [], 0, True
        while has_more:
            part = await kept.page(one.id, "alice", start=place, count=9, newest_first=False)
            assert 1 <= len(part.entries) <= 3
            assert part.size > PART_BYTES // 3
            seen += part.entries
            place, has_more = place + len(part.entries), part.has_more
        assert tuple(seen) == entries
        newest = await kept.page(one.id, "alice", start=None, count=9, newest_first=True)
        assert tuple(newest.entries) == entries[::-1][: len(newest.entries)]
        assert (newest.has_more, len(newest.entries) < 5) == (True, True)

    async def test_an_items_position_is_found(self, kept):
        one = await created(kept, *(entry(str(number), "x" * 9000) for number in range(300)))
        for number in (0, 1, 299):
            assert await kept.find(one.id, "alice", str(number)) == number
        await kept.remove(one.id, "alice", "0")
        assert await kept.find(one.id, "alice", "0") is None
        assert await kept.find(one.id, "alice", "299") == 298

    async def test_the_head_has_no_items(self, kept):
        one = await created(kept, entry("a"))
        assert await kept.head(one.id, "alice") == replace(one, entries=())

    @pytest.mark.catalogue("A6")
    async def test_what_is_read_is_of_one_instant_whatever_is_taken_out_meanwhile(self, kept):
        entries = [entry(f"{number:03}", "x" * 20_000 + str(number)) for number in range(300)]
        one = await created(kept, *entries)

        async def take():
            for each in entries[:40]:
                assert await kept.remove(one.id, "alice", each.id)

        taking = asyncio.create_task(take())
        while not taking.done():
            found = (await kept.get(one.id, "alice")).entries
            await asyncio.sleep(0)
            assert list(found) == entries[len(entries) - len(found) :]
        await taking

    @pytest.mark.catalogue("A6")
    @pytest.mark.parametrize(
        ("limits", "most"),
        [(ConversationLimits(items=5), 5), (ConversationLimits(bytes=3 * 2048), 3)],
        ids=["items", "mib"],
    )
    async def test_beyond_its_bounds_nothing_is_added_and_what_is_there_stays(
        self, kept, limits, most
    ):
        kept.limits = limits
        one = await created(kept)
        for number in range(most):
            assert await kept.add(one.id, "alice", [entry(str(number), "x" * 1400)])
        full = await kept.get(one.id, "alice")
        assert 0 < full.size <= limits.bytes
        for _ in range(2):
            with pytest.raises(ConversationFull):
                await kept.add(one.id, "alice", [entry("more", "x" * 1400)])
        assert await kept.add(one.id, "alice", [entry("0", "x" * 1400)]) == ["0"]  # it is there
        assert await kept.get(one.id, "alice") == full
        assert await kept.remove(one.id, "alice", "0")
        assert await kept.add(one.id, "alice", [entry("more", "x" * 1400)])
        too_many = new(*(entry(str(number), "x" * 1400) for number in range(most + 1)))
        with pytest.raises(ConversationFull):
            await kept.create(too_many)
        assert await kept.get(too_many.id, "alice") is None

    async def test_metadata_are_replaced_as_a_whole(self, kept):
        one = await created(kept, entry("a"))
        assert await kept.update(one.id, "alice", {"é": "\n"})
        assert await kept.get(one.id, "alice") == replace(one, metadata={"é": "\n"})

    @pytest.mark.parametrize("item_id", ODD)
    async def test_an_item_is_taken_out_whatever_its_id(self, kept, item_id):
        entries = [entry(each) for each in ODD]
        one = await created(kept, *entries)
        assert await kept.remove(one.id, "alice", item_id)
        assert not await kept.remove(one.id, "alice", item_id)
        left = tuple(each for each in entries if each.id != item_id)
        assert (await kept.get(one.id, "alice")).entries == left

    async def test_without_its_last_item_a_conversation_goes_on(self, kept):
        one = await created(kept, entry("a"))
        assert await kept.remove(one.id, "alice", "a")
        assert (await kept.get(one.id, "alice")).entries == ()
        assert await kept.add(one.id, "alice", [entry("b")])
        assert (await kept.get(one.id, "alice")).entries == (entry("b"),)

    async def test_what_was_deleted_is_gone_for_good(self, kept):
        one = await created(kept, entry("a"))
        assert await kept.delete(one.id, "alice")
        await self.is_unknown(kept, one.id, "alice")

    async def test_another_owners_is_as_unknown_as_any(self, kept):
        one = await created(kept, entry("a"))
        for conversation_id in (one.id, new_conversation_id(), "", "a b\nc}{"):
            await self.is_unknown(kept, conversation_id, "mallory")
        assert await kept.get(one.id, "alice") == one

    @pytest.mark.catalogue("A14")
    @pytest.mark.parametrize("name", [CAROL, *BEFORE])
    async def test_an_owner_has_its_own_under_any_of_its_names(self, kept, name):
        one = await created(kept, entry("a"), owner=name)
        for asked in (CAROL, *BEFORE):
            assert (await kept.get(one.id, asked)).entries == one.entries
            assert await kept.update(one.id, asked, {"k": asked})
            assert await kept.add(one.id, asked, [entry(asked)]) == [asked]
            assert await kept.remove(one.id, asked, asked)
        for stranger in ("dave", "carol-3", "", " "):
            await self.is_unknown(kept, one.id, stranger)
        assert await kept.delete(one.id, CAROL)
        await self.is_unknown(kept, one.id, name)

    async def is_unknown(self, kept, conversation_id, owner):
        assert await kept.get(conversation_id, owner) is None
        assert not await kept.update(conversation_id, owner, {})
        assert await kept.add(conversation_id, owner, [entry("b")]) is None
        assert not await kept.remove(conversation_id, owner, "a")
        assert not await kept.delete(conversation_id, owner)
        assert await kept.get(conversation_id, owner) is None

    async def test_a_conversation_that_is_not_used_is_dropped(self, kept, let_pass):
        one = await created(kept, entry("a"))
        await let_pass(one, TTL_SECONDS)
        await self.is_unknown(kept, one.id, "alice")

    @pytest.mark.parametrize("what", ["get", "update", "add", "remove"])
    async def test_every_use_keeps_it_for_another_while(self, kept, let_pass, what):
        one = await created(kept, entry("a"), entry("b"))
        uses = {"get": (), "update": ({},), "add": ([entry("c")],), "remove": ("a",)}
        await let_pass(one, TTL_SECONDS / 2)
        assert await getattr(kept, what)(one.id, "alice", *uses[what])
        await let_pass(one, TTL_SECONDS * 0.75)
        assert await kept.get(one.id, "alice") is not None

    async def test_who_may_not_use_it_does_not_keep_it(self, kept, let_pass):
        one = await created(kept, entry("a"))
        await let_pass(one, TTL_SECONDS / 2)
        await self.is_unknown(kept, one.id, "mallory")
        await let_pass(one, TTL_SECONDS * 0.75)
        assert await kept.get(one.id, "alice") is None


# In memory


@pytest.fixture
def clock():
    return Hand()


class TestMemory(ConversationsContract):
    """One process."""

    @pytest.fixture
    def kept(self, clock):
        return MemoryConversations(
            max_bytes=2**24, ttl_seconds=TTL_SECONDS, now=clock, owners=OWNERS
        )

    @pytest.fixture
    def let_pass(self, clock):
        async def turn(_, seconds):
            clock.now += seconds

        return turn


def small(clock, conversations):
    """Room for so many conversations of one item of a thousand bytes."""
    size = 1000 + 2 * OVERHEAD + 100
    return MemoryConversations(max_bytes=conversations * size, ttl_seconds=TTL_SECONDS, now=clock)


async def known(kept, all_of_them):
    return [one for one in all_of_them if await kept.get(one.id, "alice")]


async def test_over_the_bound_the_least_used_goes_first(clock):
    kept = small(clock, 3)
    first, second, third = [await created(kept, entry("a", "x" * 1000)) for _ in range(3)]
    await kept.get(first.id, "alice")
    await kept.add(second.id, "alice", [])
    await created(kept, entry("a", "x" * 1000))
    assert await known(kept, [first, second, third]) == [first, second]


async def test_one_that_grows_takes_the_room_of_the_others(clock):
    kept = small(clock, 3)
    ones = [await created(kept, entry("a", "x" * 1000)) for _ in range(3)]
    assert await kept.add(ones[0].id, "alice", [entry("b", "x" * 1000)])
    assert [one.id for one in await known(kept, ones)] == [ones[0].id, ones[2].id]


async def test_one_alone_cannot_outgrow_the_bound(clock):
    """What it holds by then stays, and so do the others."""
    kept = small(clock, 3)
    other, one = [await created(kept, entry("a", "x" * 1000)) for _ in range(2)]
    with pytest.raises(StoreUnavailable):
        await kept.add(one.id, "alice", [entry("b", "x" * 9000)])
    with pytest.raises(StoreUnavailable):
        await kept.create(new(entry("b", "x" * 9000)))
    assert await known(kept, [other, one]) == [other, one]


async def test_metadata_and_empty_items_count_too(clock):
    kept = small(clock, 3)
    one = await created(kept, entry("a", "x" * 1000))
    for _ in range(5):
        await created(kept, metadata={"k": "v" * 500})
    assert await known(kept, [one]) == []
    with pytest.raises(StoreUnavailable):
        await created(kept, *(entry(str(number), "") for number in range(20)))


async def test_what_is_taken_out_makes_room(clock):
    kept = small(clock, 3)
    one = await created(kept, entry("a", "x" * 2000))
    await kept.remove(one.id, "alice", "a")
    ones = [one, *[await created(kept, entry("a", "x" * 1000)) for _ in range(2)]]
    await kept.delete(ones[1].id, "alice")
    ones.append(await created(kept, entry("a", "x" * 1000)))
    assert len(await known(kept, ones)) == 3


async def test_what_is_forgotten_is_not_held_on_to(clock):
    """Also if it is not asked for: after its time it takes no memory."""
    kept = small(clock, 3)
    one = await created(kept, entry("a", "x" * 1000))
    clock.now += TTL_SECONDS
    await created(kept)
    assert one.id not in kept._kept


# On a server


async def pass_on_server(client, conversation, seconds):
    """Let a conversation's time run faster: what is left of it is what would be left."""
    for key in await client.keys(f"*:c*:{conversation.id}"):
        left = await client.pttl(key) - int(seconds * 1000)
        await (client.pexpire(key, left) if left > 0 else client.delete(key))


class TestValkey(ConversationsContract):
    """Many processes."""

    @pytest.fixture
    async def store(self, valkey):
        async with opened(valkey.url) as one:
            yield one

    @pytest.fixture
    def kept(self, store):
        return RedisConversations(store.scripts, TTL_SECONDS, owners=OWNERS)

    @pytest.fixture
    def let_pass(self, store):
        async def turn(conversation, seconds):
            await pass_on_server(store._client, conversation, seconds)

        return turn


class TestCluster(TestValkey):
    """On three nodes."""

    @pytest.fixture
    async def store(self, cluster):
        async with opened(cluster.url) as one:
            yield one

    @pytest.fixture
    def let_pass(self, cluster):
        """Key by key, on the node that has it."""

        async def turn(conversation, seconds):
            for node in cluster.nodes:
                for key in node.cli("KEYS", f"*:c*:{conversation.id}"):
                    left = node.cli("PTTL", key) - int(seconds * 1000)
                    node.cli("PEXPIRE", key, left) if left > 0 else node.cli("DEL", key)

        return turn


class TestDebianRedis(TestValkey):
    """On the oldest server that is supported."""

    @pytest.fixture
    async def store(self, debian_redis):
        async with opened(debian_redis.url) as one:
            yield one


@pytest.mark.parametrize(
    ("start", "newest_first", "expected"),
    [
        (None, False, [0, 1, 2]),
        (None, True, [2, 1, 0]),
        (1, False, [1, 2]),
        (1, True, [1, 0]),
        (3, False, []),
        (9, True, [2, 1, 0]),  # some were removed meanwhile
        (-1, True, []),
    ],
)
def test_a_page_has_the_positions_from_its_start_on(start, newest_first, expected):
    assert list(positions(3, start, newest_first=newest_first)) == expected
    assert list(positions(0, start, newest_first=newest_first)) == []
