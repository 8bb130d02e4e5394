"""What is due when, with time turned by hand; the sockets themselves are in test_transport."""

import asyncio
from math import inf

import pytest
from support.raw_client import CONTINUATION, PING, TEXT, frame, head

from ws_bridge.config import Limits
from ws_bridge.errors import MESSAGE_TOO_SLOW, SILENT_CLIENT
from ws_bridge.server.transport.transport import ClientTransport, ListenerState
from ws_bridge.server.transport.watches import (
    JOINED,
    HttpWatch,
    LingeringClose,
    WebSocketWatch,
)

SECOND = 512 * 1024  # bytes that gain a second
LIMITS = Limits(head_seconds=10, message_seconds=30, silent_seconds=120, unread_seconds=30)


class Connection:
    """The transport of a watch, without a socket: it keeps what was asked of it."""

    def __init__(self):
        self.scheduled = 0
        self.counted = 0
        self.breaches = []
        self.closes = []
        self.is_suspended = False
        self.buffered = 0

    def schedule(self):
        self.scheduled += 1

    def record_received(self, count):
        self.counted = count

    def close_websocket(self, _ws, breach):
        self.breaches.append(breach)

    def is_reading_paused(self):
        return self.is_suspended

    def unsent(self):
        return self.buffered

    def close(self):
        self.closes.append("closed")

    def close_socket(self, *, at_once):
        self.closes.append("aborted" if at_once else "closed")


class Staying(asyncio.Transport):
    """A connection that does not end."""

    aborted = 0

    def abort(self):
        self.aborted += 1


@pytest.fixture
def transport():
    return Connection()


@pytest.fixture
def watch(transport):
    return WebSocketWatch(transport, LIMITS, None, 0.0, 2**20)


def test_a_client_is_silent_when_no_byte_came_for_so_long(watch, transport):
    assert watch.due == 120
    watch.receive(frame(TEXT, b"x"), 50.0)
    assert watch.due == 170
    watch.on_timer(170.0)
    assert transport.breaches == [SILENT_CLIENT]


def test_a_message_has_its_time_and_a_second_more_for_so_many_bytes(watch, transport):
    watch.receive(head(TEXT, 10 * SECOND), 100.0)
    assert (watch.due, transport.scheduled) == (130, 1)
    for second in range(1, 10):
        watch.receive(bytes(SECOND), 100.0 + second)
        assert watch.due == 130 + second
    assert (transport.scheduled, transport.counted) == (1, 9 * SECOND)
    watch.receive(bytes(SECOND), 110.0)
    assert (watch.due, transport.counted) == (230, 10 * SECOND), "it is not parsed yet"
    watch.message_parsed()
    assert (watch.due, transport.counted) == (230, 0)


def test_a_message_that_is_not_parsed_counts_beside_the_one_after_it(watch, transport):
    half = frame(TEXT, bytes(1000))
    watch.receive(half[:500], 0.0)
    watch.receive(half[500:] + half[:600], 1.0)
    whole = transport.counted
    assert whole >= len(half) + 500
    watch.message_parsed()
    assert 500 < transport.counted < 600
    watch.receive(half[600:], 2.0)
    watch.message_parsed()
    assert transport.counted == 0


def test_of_messages_that_touch_each_has_its_own_time(watch, transport):
    half = frame(TEXT, bytes(1000))
    watch.receive(half[:500], 0.0)
    for now in range(20, 200, 20):
        watch.receive(half[500:] + half[:500], float(now))
        assert watch.due == pytest.approx(now + 30, abs=0.01)
    assert transport.breaches == []


def test_what_comes_between_its_fragments_gains_a_message_no_time(watch, transport):
    watch.receive(frame(PING) + frame(TEXT, b"x", final=False), 0.0)
    for now in range(1, 30):
        watch.receive(frame(PING) + frame(CONTINUATION, b"x", final=False), float(now))
        assert watch.due == pytest.approx(30, abs=0.01)
    watch.on_timer(31.0)
    assert transport.breaches == [MESSAGE_TOO_SLOW]


def test_a_client_that_is_not_listened_to_is_neither_slow_nor_silent(watch, transport):
    watch.receive(head(TEXT, 100), 0.0)
    transport.is_suspended = True
    for now in (30.0, 60.0, 90.0, 120.0, 150.0):
        assert watch.due == now
        watch.on_timer(now)
    transport.is_suspended = False
    assert (watch.due, transport.breaches) == (180, [])


def test_after_a_breach_nothing_goes_on_to_aiohttp_and_the_end_comes_soon(watch, transport):
    assert watch.receive(b"\x81\x01x", 5.0) == b""
    assert watch.receive(frame(TEXT, b"x"), 5.5) == b""
    assert (len(transport.breaches), watch.due) == (1, 6)
    watch.on_timer(6.0)
    transport.buffered = 1
    watch.on_timer(6.0)
    assert transport.closes == ["closed", "aborted"]


def test_tiny_reads_of_a_payload_go_on_together(watch):
    """Each read costs aiohttp a list's place and an object, however little it brings."""
    watch.receive(head(TEXT, 100_000), 0.0)
    given = [watch.receive(b"xy", 0.0) for _ in range(50_000)]
    assert b"".join(given) == b"xy" * 50_000
    assert sum(map(bool, given)) <= 100_000 / JOINED + 1


def test_a_frames_head_is_never_kept_back(watch):
    """The length that it announces may be too large, which aiohttp refuses."""
    announced = head(TEXT, 2**40)
    assert watch.receive(announced, 0.0) == announced


def test_a_closed_client_has_a_moment_and_one_that_reads_has_more(transport):
    closing = LingeringClose(transport, 0.0, frames=None, seconds=30.0)
    assert closing.due == 1.0
    transport.buffered = 100
    closing.on_timer(1.0)
    assert (transport.closes, closing.due) == (["closed"], 31)
    transport.buffered = 50
    closing.on_timer(31.0)
    assert closing.due == 61
    closing.on_timer(61.0)
    assert transport.closes == ["closed", "aborted"]


def test_between_requests_nothing_is_due(transport):
    watch = HttpWatch(transport, LIMITS, 1000, 0.0)
    assert watch.due == 10
    watch.receive(b"GET", 9.0)
    assert watch.due == 10
    watch._phase = watch._phase.ANSWER
    watch.answered(11.0)
    assert watch.due == inf
    watch.receive(b"G", 100.0)
    assert watch.due == 110


def test_a_body_that_is_not_read_any_more_has_its_time_and_no_more(transport):
    watch = HttpWatch(transport, LIMITS, 1000, 0.0)
    watch._phase = watch._phase.BODY
    watch.answered(5.0)
    watch.receive(b"x", 6.0)
    assert (watch.due, transport.counted) == (pytest.approx(30, abs=0.01), 0)
    watch.on_timer(31.0)
    assert transport.closes == ["closed"]


def test_a_client_that_takes_no_byte_of_an_answer_for_so_long_is_cut_off(transport):
    watch = HttpWatch(transport, LIMITS, 1000, 0.0)
    watch._phase = watch._phase.ANSWER
    transport.buffered = 1000
    watch.record_written(5000, 5.0)
    for now in (15.0, 25.0):
        assert watch.due == now
        watch.on_timer(now)
    assert (watch.due, transport.closes) == (35.0, [])
    watch.on_timer(35.0)
    assert transport.closes == ["aborted"]


def test_a_client_that_takes_a_byte_now_and_then_is_not(transport):
    """However much comes to it: what is unsent may grow all the while."""
    watch = HttpWatch(transport, LIMITS, 1000, 0.0)
    watch._phase = watch._phase.ANSWER
    transport.buffered, now = 1000, 0.0
    watch.record_written(1000, now)
    for _ in range(20):
        for _ in range(2):
            now = watch.due
            watch.on_timer(now)
        watch.record_written(50, now)
        transport.buffered += 49
        now = watch.due
        watch.on_timer(now)
    assert now > 10 * LIMITS.unread_seconds
    assert transport.closes == []
    transport.buffered = 0
    watch.on_timer(watch.due)
    assert watch.due == inf


async def test_the_end_of_all_waits_a_moment_for_those_who_stay_and_cuts_them_off():
    state = ListenerState(LIMITS, 1000)
    stays = Staying()
    state.add(stays)
    await state.close()
    assert stays.aborted == 1
    state.remove(stays)
    await state.close()
    assert stays.aborted == 1


async def test_after_a_standstill_of_this_process_clients_get_another_moment():
    """What they sent meanwhile has not been read when the bell rings."""
    connection = ClientTransport(asyncio.Protocol(), ListenerState(LIMITS, 1000))
    woken = []
    connection._watch = Connection()
    connection._watch.due = connection._state.loop.time() - 5
    connection._watch.on_timer = woken.append
    connection._timer_at = connection._watch.due
    connection._on_timer()
    assert woken == []
    connection._timer.cancel()
    connection._timer_at = connection._state.loop.time()
    connection._on_timer()
    assert len(woken) == 1
