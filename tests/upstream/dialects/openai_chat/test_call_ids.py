"""Call ids, both ways."""

from __future__ import annotations

import re

import pytest

from ws_bridge.upstream.dialects.openai_chat.call_ids import MARK, for_client, for_provider
from ws_bridge.upstream.dialects.openai_chat.variants import MISTRAL_ID, OPENAI_ID, USUAL_ID

CLIENTS = re.compile(r"[A-Za-z0-9_-]{1,64}")


@pytest.mark.parametrize(
    "own", ["call_1", "D681PevKs", "functions.get_weather:0", "a b", "wörter", "\ud800", "callx_1"]
)
def test_a_provider_gets_its_own_id_back(own: str) -> None:
    shown = for_client(own)
    assert CLIENTS.fullmatch(shown)
    assert for_provider(shown, USUAL_ID) == own


def test_an_id_that_fits_is_the_clients_as_it_is() -> None:
    assert for_client("toolu_01-x") == "toolu_01-x"


def test_an_id_that_is_too_long_is_the_same_short_one_each_time() -> None:
    shown = for_client("x" * 65)
    assert CLIENTS.fullmatch(shown)
    assert shown == for_client("x" * 65) != for_client("x" * 66)


@pytest.mark.parametrize("foreign", ["call_abcdefgh", "toolu_1", "fc_" + "9" * 60])
def test_another_makers_id_is_mapped_into_the_form_that_mistral_takes(foreign: str) -> None:
    mapped = for_provider(foreign, MISTRAL_ID)
    assert MISTRAL_ID.fullmatch(mapped)
    assert mapped == for_provider(foreign, MISTRAL_ID)


def test_openai_takes_forty_characters_and_vllms_own_ids() -> None:
    assert for_provider("call_" + "a" * 35, OPENAI_ID) == "call_" + "a" * 35
    assert len(for_provider("call_" + "a" * 36, OPENAI_ID)) <= 40
    own = "chatcmpl-tool-" + "0" * 32
    assert for_provider(own, OPENAI_ID) == own


@pytest.mark.parametrize("call_id", [MARK, MARK + "!", MARK + "_", MARK + "YQ="])
def test_what_only_looks_encoded_stays(call_id: str) -> None:
    assert for_provider(call_id, USUAL_ID) == call_id
