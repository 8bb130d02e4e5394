"""A client attacks in every way at once; fifty streams of another are whole."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # the bench imports itself as `tests.bench`

from attack.report import told
from attack.rounds import play
from attack.waves import ADDED, ENDLESS, FOLLOWERS, STORED, UNREAD, UNSTORED

FAMILIES = 3


@pytest.mark.catalogue("A5", "A6", "A7", "A8", "A9")
async def test_beside_a_mixed_attack_no_stream_is_lost_and_memory_is_bounded():
    """Each event once, none taken over, no cry in a log; what is held stays within the limits."""
    result = await play()
    sys.stdout.write(told(result))
    assert result.problems == []
    assert result.let_say_mib < 64  # of 256
    counts = result.counts
    assert [wave for wave, status in counts if status in (500, 504)] == []
    assert counts["seals", 400] == 3
    assert counts["seals", "400"] == 1
    assert counts["conversation items", 200] == ADDED
    assert counts["tokens", 200] >= 1
    assert counts["stored", 200] == STORED
    assert counts["unstored", "response.completed"] == UNSTORED
    assert 1 <= counts["followers", 200] <= 100
    assert counts["followers", 200] + counts["followers", 429] == FOLLOWERS
    assert counts["deltas", "failed"] == FAMILIES * ENDLESS
    assert counts["files unread", "let go"] == UNREAD
    assert counts["inputs unread", "let go"] == 1
