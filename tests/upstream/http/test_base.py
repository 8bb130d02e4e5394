"""What the dialects' upstream is given has the parts that it asks for."""

import inspect

from ws_bridge.upstream.dialects.anthropic.stream import MessagesReader
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.families import FAMILIES
from ws_bridge.upstream.http.base import Access, Continuation
from ws_bridge.upstream.litellm import access

WAYS = [made for _, made in inspect.getmembers(access, inspect.isclass) if hasattr(made, "headers")]


def parts(protocol):
    return {name for name in vars(protocol) if not name.startswith("_")}


def parameters(function):
    return [*inspect.signature(function).parameters]


def test_every_way_to_a_target_has_an_address_and_proves_who_asks():
    assert parts(Access) == {"url", "headers"}
    own = [made for made in WAYS if made.__module__ == access.__name__]
    assert own
    for made in own:
        assert inspect.iscoroutinefunction(made.headers)
        assert parameters(made.headers) == parameters(Access.headers)
        assert "url" in {*dir(made), *made.__annotations__}


def test_a_reader_that_may_pause_can_be_asked_to_go_on_and_no_other():
    assert parts(Continuation) == {"paused", "continuation"}
    pausing = [
        name
        for name, family in FAMILIES.items()
        if hasattr(family.reader(ReaderInput()), "continuation")
    ]
    assert pausing == ["anthropic"]
    reader = FAMILIES["anthropic"].reader(ReaderInput())
    assert isinstance(reader, MessagesReader)
    assert reader.paused is None
    assert parameters(MessagesReader.continuation) == parameters(Continuation.continuation)
