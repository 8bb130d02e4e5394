"""The table decides about every option, and variants replace cells."""

from __future__ import annotations

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.request import PASSED_ON
from ws_bridge.upstream.dialects.openai_chat.table import TABLE, table_of


def test_every_option_that_is_passed_on_has_a_cell() -> None:
    assert set(PASSED_ON) <= set(TABLE.options)


def test_an_unknown_provider_has_the_familys_table() -> None:
    assert table_of("invented") is TABLE


@pytest.mark.parametrize("column", ["tools", "choices", "items", "parts", "options", "includes"])
def test_what_is_invented_is_refused_by_all(column: str) -> None:
    for provider in ("openai", "mistral", "invented"):
        with pytest.raises(UpstreamError) as raised:
            table_of(provider).takes(column, "invented", "place[1]")
        assert (raised.value.status, raised.value.param) == (400, "place[1]")


def test_a_variants_cell_replaces_the_familys() -> None:
    assert table_of("openai").takes("parts", "input_file.data", "input")
    with pytest.raises(UpstreamError):
        table_of("groq").takes("parts", "input_file.data", "input")
    assert table_of("groq").takes("parts", "input_image.url", "input")
    with pytest.raises(UpstreamError, match="data URL"):
        table_of("deepseek").takes("parts", "input_image.url", "input")
