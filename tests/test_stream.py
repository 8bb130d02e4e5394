"""One writer, readers with positions."""

import asyncio

import pytest

from ws_bridge.errors import RateLimited
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.stream import METERED, Stream

EVENTS = [Event.of(Draft("x", {"at": number}), number, None) for number in range(6)]


async def collect(stream: Stream, after: int = -1) -> list[Event]:
    return [event async for batch in stream.read(after) for event in batch]


async def let_run() -> None:
    """Every task that can run has run: several rounds of the loop, no time passes."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("after", range(-1, 8))
@pytest.mark.parametrize("joined", range(7))
async def test_a_reader_gets_all_after_its_position_whenever_it_came(joined, after):
    stream = Stream()
    stream.append(EVENTS[:joined])
    reader = asyncio.create_task(collect(stream, after))
    await let_run()
    for event in EVENTS[joined:]:
        stream.append([event])
        await let_run()
    stream.close()
    assert await reader == EVENTS[after + 1 :]


async def test_what_is_ready_comes_as_one_batch():
    stream = Stream()
    stream.append(EVENTS[:3])
    reader = stream.read()
    assert list(await anext(reader)) == EVENTS[:3]
    stream.append(EVENTS[3:4])
    stream.append(EVENTS[4:])
    assert list(await anext(reader)) == EVENTS[3:]


@pytest.mark.parametrize("refused", range(6))
async def test_a_subscriber_gets_each_batch_until_it_refuses_one_and_later_the_rest(refused):
    stream, taken = Stream(), []

    def take(batch):
        if batch[0].number != refused:
            taken.extend(batch)
        return batch[0].number != refused

    passing = asyncio.create_task(stream.subscribe(take))
    for event in EVENTS:
        stream.append([event])
        await let_run()
    stream.close()
    assert await passing == [EVENTS[refused]]
    assert taken == EVENTS[:refused]
    assert await stream.subscribe(lambda batch: not taken.extend(batch), refused) == []
    assert taken == [*EVENTS[:refused], *EVENTS[refused + 1 :]]


async def test_what_is_appended_together_is_delivered_together():
    stream, batches = Stream(), []
    passing = asyncio.create_task(stream.subscribe(lambda batch: not batches.append(batch)))
    await let_run()
    stream.append(EVENTS[:2])
    stream.append(EVENTS[2:4])
    await let_run()
    stream.append(EVENTS[4:])
    stream.close()
    assert await passing == []
    assert batches == [EVENTS[:4], EVENTS[4:]]


async def test_an_error_of_a_subscriber_is_raised_to_it_and_to_no_other_reader():
    stream = Stream()
    passing = asyncio.create_task(stream.subscribe(lambda _: 1 / 0))
    await let_run()
    stream.append(EVENTS)
    with pytest.raises(ZeroDivisionError):
        await passing
    stream.close()
    assert await collect(stream) == EVENTS


async def test_an_error_before_any_event_reaches_the_subscribers():
    stream = Stream()
    passing = asyncio.create_task(stream.subscribe(lambda _: True))
    await let_run()
    stream.close(RateLimited("Too many."))
    with pytest.raises(RateLimited):
        await passing


async def test_a_reader_waits_until_there_is_something_or_the_end():
    stream = Stream()
    reader = asyncio.create_task(collect(stream))
    await let_run()
    assert not reader.done()
    stream.close()
    assert await reader == []


async def test_a_slow_reader_holds_up_neither_the_writer_nor_the_others():
    stream = Stream()
    slow = stream.read()
    stream.append(EVENTS[:1])
    first = await anext(slow)
    fast = asyncio.create_task(collect(stream))
    for event in EVENTS[1:]:
        stream.append([event])
        await let_run()
    stream.close()
    assert await fast == EVENTS
    assert [*first, *[event async for batch in slow for event in batch]] == EVENTS


async def test_a_reader_that_goes_away_is_forgotten():
    stream = Stream()
    cancelled, staying = (asyncio.create_task(collect(stream)) for _ in range(2))
    await let_run()
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    stream.append(EVENTS)
    stream.close()
    assert await staying == EVENTS


async def test_nothing_can_be_appended_once_it_is_closed():
    stream = Stream()
    stream.append(EVENTS[:1])
    stream.close()
    stream.append(EVENTS[1:])
    assert await collect(stream) == EVENTS[:1]


async def test_a_position_before_the_beginning_is_the_beginning():
    stream = Stream()
    stream.append(EVENTS)
    stream.close()
    assert await collect(stream, -5) == EVENTS


async def test_an_error_before_any_event_reaches_the_readers():
    stream = Stream()
    reader = asyncio.create_task(collect(stream))
    await let_run()
    error = RateLimited("Too many.")
    stream.close(error)
    for read in (reader, collect(stream)):
        with pytest.raises(RateLimited) as raised:
            await read
        assert raised.value is error


async def test_an_error_after_events_does_not():
    """The terminal event has it already."""
    stream = Stream()
    stream.append(EVENTS)
    stream.close(RateLimited("Too many."))
    assert await collect(stream) == EVENTS


async def test_the_first_error_stays():
    stream = Stream()
    first = RateLimited("first")
    stream.close(first)
    stream.close()
    stream.close(RateLimited("second"))
    assert stream.error is first


async def test_a_wait_for_the_end_ends_with_it():
    stream = Stream()
    waiting = asyncio.create_task(stream.wait_until_closed())
    await let_run()
    stream.append(EVENTS)
    await let_run()
    assert not waiting.done()
    stream.close()
    await waiting
    await stream.wait_until_closed()


class Counted:
    """Awaits something and counts how often the task is woken for it."""

    def __init__(self, awaitable):
        self.steps = 0
        self._inner = awaitable.__await__()

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        self.steps += 1
        return next(self._inner)


async def test_no_event_wakes_a_wait_for_the_end():
    """A wake-up for each delta would be most of the work of a response that is only awaited."""
    stream = Stream()
    counted = Counted(stream.wait_until_closed())

    async def wait():
        await counted

    waiting = asyncio.create_task(wait())
    for event in EVENTS:
        stream.append([event])
        await let_run()
    assert (counted.steps, waiting.done()) == (1, False)
    stream.close()
    await waiting
    assert counted.steps == 2


def test_a_stream_tells_of_its_growth_in_steps_and_of_every_byte_once():
    stream, grown = Stream(), []
    stream.on_growth = grown.append
    half = Event("x", 0, b"x" * (METERED // 2))
    stream.append([half])
    assert grown == []
    stream.append([half])
    stream.append([half, half, half])
    assert grown == [METERED, 3 * METERED // 2]
    assert sum(grown) == stream.size
