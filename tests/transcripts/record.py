"""One scenario through litellm: the drafts it gave, and the error it ended with, if it did."""

from support.answers import opened

from transcripts import FAMILIES
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.litellm import models
from ws_bridge.upstream.litellm.upstream import LitellmUpstream

HELLO = {"type": "message", "role": "user", "content": "hi"}


def target(base_url: str, family: str, scenario: str) -> Target:
    prefix, path, _ = FAMILIES[family]
    return Target(
        name=scenario,
        model=prefix + scenario,
        api_base=base_url + path,
        api_key="sk-x",
        stall_seconds=0.5 if "stall" in scenario else 10,
        retries=0,
    )


async def record(base_url: str, family: str, scenario: str) -> list[Draft | UpstreamError]:
    """The steps of one call."""
    asked = target(base_url, family, scenario)
    models.register([asked])
    steps: list[Draft | UpstreamError] = []
    try:
        async for draft in opened(LitellmUpstream(), Request(asked, Chain(None, (HELLO,)), {})):
            steps.append(draft)  # noqa: PERF401 - what came before an error counts
    except UpstreamError as error:
        steps.append(error)
    return steps
