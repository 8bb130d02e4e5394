"""The table of providers' names against litellm's own."""

from ws_bridge.config.providers import PROVIDERS
from ws_bridge.upstream.litellm import setup as litellm


def test_the_names_of_providers_are_litellms():
    """Of the release that is installed, and the demo's; older ones have fewer."""
    own = litellm.litellm.provider_list
    assert {str(getattr(one, "value", one)) for one in own} - PROVIDERS == set()
    assert "demo" in PROVIDERS
