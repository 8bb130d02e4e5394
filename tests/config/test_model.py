"""The sections of the configuration as values."""

import pytest

from ws_bridge.config import match_wildcard


@pytest.mark.parametrize(
    ("pattern", "name", "star"),
    [
        ("a-*", "a-b", "b"),
        ("*-a", "b-a", "b"),
        ("a*a", "aba", "b"),
        ("*", "x", "x"),
        ("a*a", "aa", ""),
        ("a-*", "a-", ""),
        ("a-*", "b-a", ""),
        ("a", "a", ""),
    ],
)
def test_a_star_stands_for_at_least_one_character(pattern, name, star):
    assert match_wildcard(pattern, name) == star
