"""Every call of litellm, and what kind of answer it returned.

Importing this takes seconds: import it in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from ws_bridge.types import Json
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.litellm import internals, models
from ws_bridge.upstream.litellm.call import Call, access
from ws_bridge.upstream.litellm.setup import litellm
from ws_bridge.upstream.litellm.sse_tap import SseTap, ask_plainly, bound, catching, hook
from ws_bridge.upstream.profiles import profile_of

_Handler = internals.load(internals.HTTP_HANDLER)
_ChatBridge = internals.load(internals.CHAT_BRIDGE)
_ResponseIds = internals.load(internals.RESPONSE_IDS)

log = logging.getLogger(__name__)

ITS_OWN = "cache"  # a callback of litellm's own, since its first call of Gemini

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()


async def open_stream(call: Call) -> tuple[Any, SseTap | None]:
    """Litellm's answer: an iterator of one of its kinds, or a finished response.

    With it comes the tap into the provider's bytes, if there is one and it may be used.
    """
    models.register_at_first_call(call.target.model)
    with catching(call.target.most_bytes) as catch:
        opened = await litellm.aresponses(**call.arguments(), **_client_of(call))
    return opened, catch.tap


def _client_of(call: Call) -> Json:
    """The argument with our client and its hooks, for providers that take it."""
    client = _client()
    setattr(litellm, internals.SDK_CLIENT.name, internals.CLIENT.of(client))
    provider = models.split(call.target.model)[1]
    takes_it = call.is_native or profile_of(provider).takes_client
    return {"client": client} if takes_it else {}


def _client() -> Any:
    """This loop's client. It follows no redirect: that would send keys to any address named."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        hooks = {"request": [ask_plainly], "response": [hook]}
        _clients[loop] = _Handler(event_hooks=hooks, follow_redirects=False)
    return _clients[loop]


def _bound_all() -> None:
    """Make the clients that litellm makes for itself as careful as ours.

    They follow no redirect, take no compressed answer, and bound the bytes of every answer.
    """
    make = internals.NEW_CLIENT.of(_Handler)

    def bounded(*args: Any, **options: Any) -> Any:
        client = make(*args, **options)
        client.follow_redirects = False
        hooks = client.event_hooks
        if hook not in hooks["response"]:  # else it is ours
            client.event_hooks = {
                "request": [*hooks["request"], ask_plainly],
                "response": [*hooks["response"], bound],
            }
        return client

    setattr(_Handler, internals.NEW_CLIENT.name, bounded)


def set_callbacks(names: Sequence[str]) -> None:
    """Have litellm report its calls to these, by their names in litellm.

    One that cannot be started, for want of its package or of its variables, is left out.
    """
    start = internals.load(internals.MAKE_CALLBACK)
    for name in names:
        if start(name, internal_usage_cache=None, llm_router=None) is None:
            log.warning("callback_unusable name=%s: its package or its variables are missing", name)
        elif name not in litellm.callbacks:
            litellm.callbacks.append(name)


def has_listeners() -> bool:
    """Whether the operator has registered callbacks with litellm."""
    return any(one != ITS_OWN for part in internals.LISTENERS for one in part.of(litellm))


async def create(call: Call) -> Json:
    """Start a background response at the provider; its object, with litellm's id in it."""
    with catching(call.target.most_bytes):
        return plain(await litellm.aresponses(**call.arguments(), **_client_of(call)))


async def get_background(target: Target, response_id: str) -> Json:
    """The response object as it is at the provider now."""
    given = access(target) | {"client": _client()}
    with catching(target.most_bytes):
        return plain(await litellm.aget_responses(response_id=response_id, **given))


async def cancel_background(target: Target, response_id: str) -> Json:
    """Stop it at the provider."""
    given = access(target) | {"client": _client()}
    with catching(target.most_bytes):
        return plain(await litellm.acancel_responses(response_id=response_id, **given))


def count_tokens(model: str, items: list[Json], options: Json) -> int:
    """The input tokens by litellm's counter for the model. It is slow: call it in a thread.

    It uses no network: an image counts as the default image.
    """
    messages = _ChatBridge.transform_responses_api_input_to_messages(
        input=items, responses_api_request=options
    )
    if instructions := options.get("instructions"):
        messages = [{"role": "system", "content": str(instructions)}, *messages]
    functions = [
        {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
        for tool in options.get("tools") or ()
        if tool.get("type") == "function"
    ]
    counted: int = litellm.token_counter(
        model=model,
        messages=[plain(message) for message in messages],
        tools=functions or None,
        use_default_image_token_count=True,
    )
    return counted


async def shutdown() -> None:
    """Close litellm's connection pools; call it last, in the loop that used them."""
    if client := _clients.pop(asyncio.get_running_loop(), None):
        await client.close()
        setattr(litellm, internals.SDK_CLIENT.name, None)  # it was inside of that client
    await litellm.close_litellm_async_clients()


# Kinds of answers


def chat_stream(opened: Any) -> Any:
    """The raw chat chunks of a bridged answer; None if the answer is not bridged.

    litellm's own events of such a stream are lossy, its chunks are not.
    """
    return internals.CHAT_STREAM.find(opened)


def is_stream(opened: Any) -> bool:
    """Whether native events come as the provider makes them."""
    name = type(opened).__name__
    return hasattr(opened, "__anext__") and not name.startswith(internals.PRETENDED)


def is_truncated(chunks: Any) -> bool:
    """Whether a chat stream that is over ended without the provider's finish reason.

    litellm makes one up then, and reports success.
    """
    reasons = (internals.FINISH_REASON, internals.EARLY_FINISH_REASON)
    return all(part.find(chunks) is None for part in reasons)


def plain(thing: Any) -> Json:
    """A litellm object as the provider sent it: without fields of litellm, with the nulls."""
    if isinstance(thing, dict):
        return thing
    dumped: Json = thing.model_dump(mode="json", exclude_unset=True, warnings=False)
    return dumped


def container_id(encoded: str) -> str:
    """A container's id as the provider gave it."""
    original: str = _ResponseIds.decode_container_id_to_original(encoded)
    return original


_bound_all()
