"""A target is asked in its own dialect where there is one, and by litellm where there is none."""

import pytest
from upstreams.asking import HELLO

from ws_bridge.protocol.history import Chain
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.managed import ManagedUpstream


class Noted:
    """An upstream that notes what it is asked, and answers with its own name."""

    def __init__(self, name):
        self.name = name
        self.asked = []

    async def open(self, request):
        self.asked.append(request)
        return self.name


@pytest.mark.parametrize(
    ("model", "expected"), [("written/model", "dialects"), ("other/model", "litellm")]
)
async def test_the_family_of_a_target_says_who_asks_it(model, expected):
    dialects, litellm = Noted("dialects"), Noted("litellm")
    managed = ManagedUpstream(
        dialects,
        litellm,
        families={"written"},
        family_of=lambda target: target.model.partition("/")[0],
    )
    request = Request(Target("x", model), Chain(None, (HELLO,)), {})

    assert await managed.open(request) == expected
    assert [*dialects.asked, *litellm.asked] == [request]
