"""What the seam to the dialects promises of each of them."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.families import FAMILIES


@pytest.fixture(params=FAMILIES)
def reader(request):
    return FAMILIES[request.param].reader(ReaderInput())


def test_a_reader_has_read_nothing_at_first(reader):
    assert (reader.is_over, reader.failure, reader.paused) == (False, None, None)
    assert reader.feed(b"") == []


def test_a_stream_that_says_nothing_was_cut_off(reader):
    with pytest.raises(UpstreamError):
        reader.finish()


def test_what_is_no_event_at_all_is_an_error_and_no_answer(reader):
    with pytest.raises(UpstreamError):
        reader.feed(b"data: {oops\n\n" * 100) or reader.finish()
