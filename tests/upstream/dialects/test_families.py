"""The dialects go by the names that the profiles of providers give them."""

from ws_bridge.upstream.dialects.families import FAMILIES, TABLES
from ws_bridge.upstream.dialects.litellm_chunks.table import TABLE
from ws_bridge.upstream.profiles import PROFILES


def test_every_dialect_of_a_profile_is_written_here_and_no_other_but_that_of_responses():
    named = {profile.dialect for profile in PROFILES.values()} - {""}
    assert set(FAMILIES) == named | {"responses"}


def test_every_family_has_its_own_name_table_and_writer():
    for name, family in FAMILIES.items():
        assert family.name == name
        assert TABLES[name] is family.table
    assert len({family.write for family in FAMILIES.values()}) == len(FAMILIES)


def test_the_table_of_what_litellm_opens_stands_beside_them():
    assert set(TABLES) - set(FAMILIES) == {"others"}
    assert TABLES["others"] is TABLE
