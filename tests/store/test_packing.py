"""What is packed comes back as it was, and takes less room."""

import secrets
from dataclasses import replace

import pytest
from store.contract import events_of, record, rerunnable

from ws_bridge.protocol.events import Draft, Event
from ws_bridge.store.packing import (
    ENTRY_BYTES,
    ENTRY_EVENTS,
    SMALL,
    pack,
    pack_entries,
    pack_record,
    unpack,
    unpack_entry,
    unpack_record,
)


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, 100_000])
def test_bytes_come_back(size):
    for plain in (b"x" * size, secrets.token_bytes(size)):
        assert unpack(pack(plain)) == plain


def test_what_is_small_is_kept_as_it_is():
    assert pack(b"abc").endswith(b"abc")
    assert len(pack(b"abc" * 1000)) < 200


@pytest.mark.parametrize("count", [1, 2, ENTRY_EVENTS, ENTRY_EVENTS + 1, 3 * ENTRY_EVENTS])
def test_events_come_back_with_the_same_bytes(count):
    events = events_of(record(), *map(str, range(count)))
    entries = list(pack_entries(events))
    unpacked = [event for _, payload in entries for event in unpack_entry(payload)]
    assert [event.text for event in unpacked] == [event.text for event in events]
    assert unpacked == events


def test_an_entry_is_named_by_its_last_number_and_bounded():
    words = ["x" * (ENTRY_BYTES // 3), *"abc", "y" * (2 * ENTRY_BYTES), "z"]
    drafts = [Draft("response.output_text.delta", {"delta": word}) for word in words * 50]
    events = [Event.of(draft, number, None) for number, draft in enumerate(drafts)]
    entries = list(pack_entries(events))
    for last, payload in entries:
        inside = unpack_entry(payload)
        assert inside[-1].number == last
        assert len(inside) <= ENTRY_EVENTS
        assert len(inside) == 1 or sum(len(event.text) for event in inside) <= ENTRY_BYTES
    assert [last for last, _ in entries] == sorted({last for last, _ in entries})
    assert entries[-1][0] == events[-1].number


def test_no_events_are_no_entries():
    assert list(pack_entries([])) == []


def test_line_breaks_inside_an_event_are_no_ends_of_it():
    texts = ("a\nb", "\r\n", "\u2028\u2029\x85\x0b\x0c\x1c", "\\n", "\0")
    drafts = [Draft("response.output_text.delta", {"delta": text}) for text in texts]
    events = [Event.of(draft, number, "lane") for number, draft in enumerate(drafts)]
    [(_, payload)] = pack_entries(events)
    assert unpack_entry(payload) == events


def test_a_record_comes_back():
    image = {"type": "input_image", "image_url": "data:" + "x" * 5000, "detail": None}
    for kept in (
        record(),
        rerunnable(),
        replace(record(), input=(), previous_response_id=None),
        replace(record(), input=({"role": "user", "content": [image]},) * 3),
        replace(record("ü\n\0"), ancestors=("resp_1", "resp_2")),
        replace(record(), request={"model": "m", "metadata": {"a": "b"}, "n": 2**63, "x": 1.5}),
    ):
        assert unpack_record(pack_record(kept)) == kept
