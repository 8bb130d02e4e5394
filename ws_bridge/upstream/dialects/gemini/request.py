"""A request as a body of `streamGenerateContent` (pure).

The address has the model's name; the body has none.
"""

from __future__ import annotations

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ProviderRequest, WriterInput
from ws_bridge.upstream.dialects.gemini.contents import write_contents
from ws_bridge.upstream.dialects.gemini.models import traits_of
from ws_bridge.upstream.dialects.gemini.options import OptionContext, write_options
from ws_bridge.upstream.dialects.gemini.table import TABLE
from ws_bridge.upstream.dialects.gemini.tools import write_tools


def write(given: WriterInput) -> ProviderRequest:
    """The body. Raises a 400 for what Gemini cannot be told."""
    options = TABLE.options_to_translate(given.options, drop=given.drop_params)
    traits = traits_of(given.model)
    tools = write_tools(given, options.get("tool_choice"), traits)
    body: Json = {
        **write_contents(given, traits),
        **tools.body,
        **write_options(options, OptionContext(given, traits, tools)),
    }
    if tools.wants_images:
        body.setdefault("generationConfig", {})["responseModalities"] = ["TEXT", "IMAGE"]
    return ProviderRequest(body, tools=tools.offered)
