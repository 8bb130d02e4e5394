"""What is encoded decodes to the same, and takes less room."""

import json
import secrets
import zlib
from dataclasses import asdict, replace

import pytest
from store.contract import events_of, record, rerunnable

from ws_bridge.protocol.events import Draft, Event
from ws_bridge.store.redis.cipher import Cipher, NotDecrypted
from ws_bridge.store.redis.codec import (
    CODEC,
    ENTRY_BYTES,
    ENTRY_EVENTS,
    LATER,
    SMALL,
    ZLIB,
    Codec,
    Unreadable,
    compress,
    decode_entry,
    decode_final,
    decode_json,
    decode_makers,
    decode_payer,
    decode_record,
    decode_side_data,
    decompress,
    encode_entries,
    encode_makers,
    encode_payer,
    encode_record,
    encode_side_data,
    parse_json,
)
from ws_bridge.store.redis.keys import keys_of


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, 100_000])
def test_bytes_come_back(size):
    for plain in (b"x" * size, secrets.token_bytes(size)):
        assert decompress(compress(plain)) == plain


def test_what_is_small_is_kept_as_it_is():
    assert compress(b"abc").endswith(b"abc")
    assert len(compress(b"abc" * 1000)) < 200


@pytest.mark.parametrize("count", [1, 2, ENTRY_EVENTS, ENTRY_EVENTS + 1, 3 * ENTRY_EVENTS])
def test_events_come_back_with_the_same_bytes(count):
    events = events_of(record(), *map(str, range(count)))
    entries = list(encode_entries(events))
    unpacked = [event for _, payload in entries for event in decode_entry(payload)]
    assert [event.text for event in unpacked] == [event.text for event in events]
    assert unpacked == events


def test_an_entry_is_named_by_its_last_number_and_bounded():
    deltas = ["x" * (ENTRY_BYTES // 3), *"abc", "y" * (2 * ENTRY_BYTES), "z"]
    drafts = [Draft("response.output_text.delta", {"delta": delta}) for delta in deltas * 50]
    events = [Event.of(draft, number, None) for number, draft in enumerate(drafts)]
    entries = list(encode_entries(events))
    for last, payload in entries:
        inside = decode_entry(payload)
        assert inside[-1].number == last
        assert len(inside) <= ENTRY_EVENTS
        assert len(inside) == 1 or sum(len(event.text) for event in inside) <= ENTRY_BYTES
    assert [last for last, _ in entries] == sorted({last for last, _ in entries})
    assert entries[-1][0] == events[-1].number


def test_no_events_are_no_entries():
    assert list(encode_entries([])) == []


def test_line_breaks_inside_an_event_are_no_ends_of_it():
    texts = ("a\nb", "\r\n", "\u2028\u2029\x85\x0b\x0c\x1c", "\\n", "\0")
    drafts = [Draft("response.output_text.delta", {"delta": text}) for text in texts]
    events = [Event.of(draft, number, "lane") for number, draft in enumerate(drafts)]
    [(_, payload)] = encode_entries(events)
    assert decode_entry(payload) == events


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
        assert decode_record(encode_record(kept)) == kept


# What other releases, and others, have written

KEPT = record(ancestors=("resp_1",), request={"model": "m"}, input_makers=("openai|",))
FIELDS = json.loads(json.dumps(asdict(KEPT)))
for own in ("unknown", *LATER):  # they are no part of the value
    del FIELDS[own]
NEEDED = ("id", "owner", "input", "maker")


PAYER = {"key_name": "team-a", "entry": "gpt-*"}


def packed(value):
    return compress(json.dumps(value).encode())


def test_what_a_record_lacks_has_its_default():
    least = {name: FIELDS[name] for name in NEEDED}
    assert decode_record(packed(least)) == replace(
        KEPT, previous_response_id=None, ancestors=(), request=None, input_makers=()
    )


def test_fields_of_a_newer_release_are_kept_and_written_again():
    newer = FIELDS | {"region": "eu", "unknown": {"a": [1]}, "background_options": None}
    kept = decode_record(packed(newer))
    assert kept.unknown == {"region": "eu", "unknown": {"a": [1]}, "background_options": None}
    again = replace(kept, maker="anthropic|")  # as for an answer by another target
    assert decode_json(encode_record(again)) == newer | {"maker": "anthropic|"}


WRONG = [
    *({name: FIELDS[name] for name in FIELDS if name != needed} for needed in NEEDED),
    *(FIELDS | {name: 7} for name in FIELDS),
    *(FIELDS | {name: None} for name in (*NEEDED, "background", "ancestors", "may_run_again")),
    *(FIELDS | {"input": [one]} for one in (None, "hi", ["hi"])),
    FIELDS | {"ancestors": [7]},
    *([], None, 7, "record", [FIELDS]),
]


@pytest.mark.parametrize("wrong", [*map(packed, WRONG)])
def test_a_record_that_is_none_is_unreadable(wrong):
    with pytest.raises(Unreadable, match="record"):
        decode_record(wrong)


BYTES = [b"", b"r", b"z", b"x" * 99, b"r{", b"r\xff\xfe", b"rNaN", b"z" + zlib.compress(b"[" * 9)]


@pytest.mark.parametrize("damaged", BYTES)
def test_bytes_that_hold_no_json_are_unreadable(damaged):
    for read in (decode_record, decode_entry, decode_final, decode_json):
        with pytest.raises(Unreadable):
            read(damaged)


def test_text_that_is_no_json_is_unreadable():
    with pytest.raises(Unreadable):
        parse_json(b"{]")


EVENT = {"type": "response.in_progress", "sequence_number": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        *([], None, 7, "event", {}),
        *(EVENT | {"type": kind} for kind in (None, 7)),
        *(EVENT | {"sequence_number": number} for number in (None, "1", 1.0, True)),
    ],
)
def test_an_event_that_is_none_is_unreadable(wrong):
    for read in (decode_entry, decode_final):
        with pytest.raises(Unreadable, match="event"):
            read(packed(wrong))


def test_a_terminal_event_is_read_with_its_response():
    end = events_of(record())[-1]
    assert decode_final(compress(end.text)) == (end, end.json()["response"])
    bare = packed(EVENT | {"response": {"status": "failed"}})
    assert decode_final(bare)[1] == {"status": "failed", "output": []}


@pytest.mark.parametrize("response", [None, [], "x", {"output": None}, {"output": {}}])
def test_an_end_without_a_response_is_unreadable(response):
    with pytest.raises(Unreadable, match="final event"):
        decode_final(packed(EVENT | {"response": response}))


def test_the_message_about_unreadable_bytes_has_none_of_their_content():
    with pytest.raises(Unreadable) as raised:
        decode_record(packed(FIELDS | {"request": "the secret"}))
    assert "secret" not in repr(raised.value)


# Values that this release has not written


@pytest.fixture
def unfolded(monkeypatch):
    """How much each unfolding has made."""
    made = []
    real = zlib.decompressobj

    class Counted:
        def __init__(self):
            self._real = real()

        def decompress(self, data, max_length=0):
            out = self._real.decompress(data, max_length)
            made.append(len(out))
            return out

        @property
        def eof(self):
            return self._real.eof

    monkeypatch.setattr(zlib, "decompressobj", Counted)
    return made


@pytest.mark.catalogue("A13")
def test_a_value_unfolds_to_the_bound_and_no_further(unfolded):
    codec = Codec(max_bytes=100_000)
    assert codec.decode(compress(b"a" * 100_000)) == b"a" * 100_000
    for bomb in (compress(b"a" * 100_001), compress(b"a" * 2**24)):
        with pytest.raises(Unreadable, match="size"):
            codec.decode(bomb)
        for read in (decode_record, decode_entry):
            with pytest.raises(Unreadable, match="size"):
                read(bomb, codec)
    assert max(unfolded) == 100_001


@pytest.mark.parametrize(
    "broken", [b"", b"z", b"?", b"zzz", ZLIB + zlib.compress(b"cut short" * 100)[:-8]]
)
def test_what_is_no_packed_value_is_an_error_and_no_value(broken):
    with pytest.raises(Unreadable):
        Codec().decode(broken)


# Encrypted ones


@pytest.mark.catalogue("A14")
@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, 100_000])
def test_encrypted_bytes_come_back_from_their_own_place(size):
    plain, codec = secrets.token_bytes(size), Codec(Cipher([b"1" * 32]))
    kept = codec.encode(plain, "key")
    assert codec.decode(kept, "key") == plain
    for other, key in ((codec, "other"), (Codec(), "key"), (Codec(Cipher([b"2" * 32])), "key")):
        with pytest.raises(NotDecrypted):
            other.decode(kept, key)


def test_an_encrypted_bomb_is_one_too(unfolded):
    cipher = Cipher([b"1" * 32])
    bomb = Codec(cipher).encode(b"a" * 2**24, "key")
    with pytest.raises(Unreadable, match="size"):
        Codec(cipher, max_bytes=1000).decode(bomb, "key")
    assert unfolded == [1001]


def test_what_was_written_before_is_read_and_what_is_large_is_compressed_first():
    codec = Codec(Cipher([b"1" * 32]))
    for plain in (b"abc", b"abc" * 1000):
        assert codec.decode(compress(plain), "key") == plain
    assert len(codec.encode(b"abc" * 1000, "key")) < 200


def test_side_data_is_read_back_as_it_was():
    side_data = {"blocks": [{"type": "ü\0\u2028", "n": 2**63}], "long": "x" * 5000}
    for codec in (CODEC, Codec(Cipher((b"1" * 32,)))):
        packed = encode_side_data(side_data, codec, "key")
        assert decode_side_data(packed, codec, "key") == side_data
        assert len(packed) < 1000


def test_encrypted_side_data_is_bound_to_its_response():
    codec = Codec(Cipher((b"1" * 32,)))
    one, other = keys_of("resp_1"), keys_of("resp_2")
    packed = encode_side_data({"a": 1}, codec, one.side)
    for key in (other.side, one.meta, one.input):
        with pytest.raises(Unreadable):
            decode_side_data(packed, codec, key)


def test_the_makers_of_an_input_are_read_back_bound_to_their_response():
    codec = Codec(Cipher((b"1" * 32,)))
    kept, one, other = record(input_makers=("", "ü|")), keys_of("resp_1"), keys_of("resp_2")
    assert decode_makers(encode_makers(kept)) == kept.input_makers
    packed = encode_makers(kept, codec, one.makers)
    assert decode_makers(packed, codec, one.makers) == kept.input_makers
    for key in (other.makers, one.meta, one.side):
        with pytest.raises(Unreadable):
            decode_makers(packed, codec, key)


def test_an_input_that_the_client_alone_wrote_has_no_makers_to_store():
    assert encode_makers(record(), Codec(Cipher((b"1" * 32,))), "key") == b""
    assert decode_makers(b"") == ()


@pytest.mark.parametrize("wrong", [{}, "a", None, [1], [None]])
def test_makers_in_another_form_are_unreadable(wrong):
    with pytest.raises(Unreadable):
        decode_makers(packed(wrong))


def test_what_its_usage_is_booked_to_is_one_value():
    kept, keys = record(**PAYER), keys_of("resp_1")
    assert decode_payer(encode_payer(kept)) == ("team-a", "gpt-*")
    assert (encode_payer(record()), decode_payer(b"")) == (b"", ("", ""))
    codec = Codec(Cipher((b"s" * 32,)))
    assert decode_payer(encode_payer(kept, codec, keys.payer), codec, keys.payer)[0] == "team-a"
    for wrong in (["a"], {"a": "b"}, ["a", 1], None):
        with pytest.raises(Unreadable):
            decode_payer(packed(wrong))
