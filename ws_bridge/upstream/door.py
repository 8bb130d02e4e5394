"""The one door to litellm: its import, its set-up, its calls, and what it knows of models.

Rule 1: nothing else imports litellm (but `demo.py`, which is a provider of its own).
Rule 2: importing it makes no network call, reads no `.env` file, prints and logs nothing.
Rule 3: what a model is spoken to in, and whether litellm may stream it, is settled here.

Importing this takes seconds: import it in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from ws_bridge.upstream.base import Target
from ws_bridge.upstream.call import Call, access
from ws_bridge.upstream.fitting import Dialect
from ws_bridge.upstream.tap import Tap, ask_plainly, catching, hook

# litellm reads these once, at its import.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches the price map, blocking
os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"  # the same
os.environ["LITELLM_MODE"] = "PRODUCTION"  # else it loads a .env file
# 100 equal chunks in a row are a table's blanks more often than a model gone wrong.
os.environ.setdefault("REPEATED_STREAMING_CHUNK_LIMIT", "100000")

import litellm
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.responses.litellm_completion_transformation.transformation import (
    LiteLLMCompletionResponsesConfig,
)
from litellm.responses.utils import ResponsesAPIRequestUtils
from litellm.utils import ProviderConfigManager

Json = dict[str, Any]

WILDCARD_NAMES = 1024  # clients make these up: only the latest stay registered

# A native model that the price map does not know would not be streamed, but awaited and then cut
# into pieces (https://github.com/BerriAI/litellm/issues/21090).
NATIVE_ENTRY: Json = {
    "mode": "responses",
    "supports_native_streaming": True,
    "supports_reasoning": True,  # else `reasoning` is refused before the provider sees it
}
# An unpriced Ollama model is looked up with a blocking call on the event loop.
OLLAMA_ENTRY: Json = {
    "mode": "chat",
    "max_tokens": 8192,
    "input_cost_per_token": 0.0,
    "output_cost_per_token": 0.0,
}
LISTENERS = (
    "callbacks",
    "success_callback",
    "failure_callback",
    "_async_success_callback",
    "_async_failure_callback",
)
# Of those that are bridged, who takes a client of litellm's own kind. Most others go through
# OpenAI's SDK, which takes `litellm.aclient_session`.
TAKE_A_CLIENT = """anthropic deepseek gemini groq mistral ollama ollama_chat together_ai""".split()
ITS_OWN = "cache"  # since its first call of Gemini
WARNINGS = (
    "Pydantic serializer warnings",  # about litellm's own copy of each native response
    "Item '.*' on TypedDict class",  # about its types
    "Accessing the 'model_(computed_)?fields' attribute",  # about its way to read them
)

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()
_known: OrderedDict[str, None] = OrderedDict()  # names registered at their first call
_ours: set[str] = set()  # names whose entry says nothing about the model


async def open_stream(call: Call) -> tuple[Any, Tap | None]:
    """What litellm answers: an iterator of one of its kinds, or a finished response.

    With it comes the tap into the provider's bytes, where there may be one.
    """
    _register_at_first_call(call.target.model)
    with catching() as catch:
        opened = await litellm.aresponses(**call.arguments(), **_tapping(call))
    return opened, None if litellm.callbacks else catch.tap


def _tapping(call: Call) -> Json:
    """The client with our hooks in it, for those who can be given one."""
    client = _client()
    litellm.aclient_session = client.client  # for all that go through OpenAI's SDK
    provider = _split(call.target.model)[1]
    takes_it = call.dialect is Dialect.NATIVE or provider in TAKE_A_CLIENT
    return {"client": client} if takes_it else {}


def _client() -> Any:
    """This loop's; redirects would carry keys in a provider's own headers to whoever it names."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        hooks = {"request": [ask_plainly], "response": [hook]}
        _clients[loop] = AsyncHTTPHandler(event_hooks=hooks, follow_redirects=False)
    return _clients[loop]


def has_listeners() -> bool:
    """Whether somebody is to be told what litellm does: hooks of whoever runs the bridge."""
    return any(one != ITS_OWN for name in LISTENERS for one in getattr(litellm, name))


async def create(call: Call) -> Json:
    """Start a background response at the provider; its object, with litellm's id in it."""
    return plain(await litellm.aresponses(**call.arguments(), **_tapping(call)))


async def get_background(target: Target, response_id: str) -> Json:
    """The response object as it is at the provider now."""
    given = access(target) | {"client": _client()}
    return plain(await litellm.aget_responses(response_id=response_id, **given))


async def cancel_background(target: Target, response_id: str) -> Json:
    """Stop it at the provider."""
    given = access(target) | {"client": _client()}
    return plain(await litellm.acancel_responses(response_id=response_id, **given))


def count_tokens(model: str, items: list[Json], options: Json) -> int:
    """The input tokens by litellm's counter for the model; without network, but slow: a thread's.

    An image counts as the default image, since nothing is fetched.
    """
    config = LiteLLMCompletionResponsesConfig
    messages = config.transform_responses_api_input_to_messages(
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
    """Close litellm's connection pools: last, and in the loop that used them."""
    if client := _clients.pop(asyncio.get_running_loop(), None):
        await client.close()
    await litellm.close_litellm_async_clients()


# What an answer is


def chat_stream(opened: Any) -> Any:
    """The raw chat chunks of a bridged answer; None if the answer is not bridged.

    litellm's own events of such a stream are lossy, its chunks are not.
    """
    return getattr(opened, "litellm_custom_stream_wrapper", None)


def is_stream(opened: Any) -> bool:
    """Whether native events come as the provider makes them."""
    return hasattr(opened, "__anext__") and not type(opened).__name__.startswith("Mock")


def is_truncated(chunks: Any) -> bool:
    """Whether a chat stream that is over ended without the provider's finish reason.

    litellm makes one up then, and reports success.
    """
    reasons = ("received_finish_reason", "intermittent_finish_reason")
    return all(getattr(chunks, name, None) is None for name in reasons)


def plain(thing: Any) -> Json:
    """A litellm object as the provider sent it: no field more, no null less."""
    if isinstance(thing, dict):
        return thing
    dumped: Json = thing.model_dump(mode="json", exclude_unset=True, warnings=False)
    return dumped


def container_id(encoded: str) -> str:
    """A container's id as the provider gave it."""
    original: str = ResponsesAPIRequestUtils.decode_container_id_to_original(encoded)
    return original


# Models


@lru_cache(maxsize=WILDCARD_NAMES)
def dialect_of(model: str) -> Dialect:
    """What the model's provider is spoken to in; an unknown provider is taken for a chat one."""
    name, provider = _split(model)
    if name.startswith("chat_completions/"):
        return Dialect.CHAT
    config = None
    with suppress(Exception):  # a custom provider is not in litellm's list
        config = ProviderConfigManager.get_provider_responses_api_config(provider, model=name)
    if config is not None:
        return Dialect.NATIVE
    return Dialect.ANTHROPIC if provider == "anthropic" else Dialect.CHAT


@lru_cache(maxsize=WILDCARD_NAMES)
def reasons(model: str) -> bool | None:
    """Whether a native model reasons; None if the price map does not know it, or what it is.

    Only native models are asked for: for some others litellm would ask a server, blocking.
    """
    name, provider = _split(model)
    if dialect_of(model) is not Dialect.NATIVE or f"{provider}/{name}" in _ours:
        return None
    try:
        info = litellm.get_model_info(name, custom_llm_provider=provider)
    except Exception:  # noqa: BLE001 - it raises a bare one for a model it does not know
        return None
    return bool(info.get("supports_reasoning"))


def register(targets: Iterable[Target]) -> None:
    """Tell litellm the models of the table; a wildcard's names are told at their first call."""
    for target in targets:
        if "*" not in target.model:
            _register(target.model)


def _register_at_first_call(model: str) -> None:
    if model in _known:
        _known.move_to_end(model)
        return
    _known[model] = None
    _register(model)
    if len(_known) > WILDCARD_NAMES:
        _forget(_known.popitem(last=False)[0])


def _register(model: str) -> None:
    name, provider = _split(model)
    key = f"{provider}/{name}"
    if provider in ("ollama", "ollama_chat"):
        entry, is_known = OLLAMA_ENTRY, key in litellm.model_cost
    else:
        entry, is_known = NATIVE_ENTRY, reasons(model) is not None
        is_known = is_known or dialect_of(model) is not Dialect.NATIVE
    if not is_known and key not in _ours:
        _ours.add(key)
        litellm.register_model({key: {"litellm_provider": provider, **entry}})


def _forget(model: str) -> None:
    name, provider = _split(model)
    key = f"{provider}/{name}"
    if key in _ours:
        _ours.discard(key)
        litellm.model_cost.pop(key, None)


def _split(model: str) -> tuple[str, str]:
    """The model's name at its provider, and the provider, as litellm reads them."""
    with suppress(Exception):  # a provider it does not know; the call itself will say so
        name, provider, *_ = litellm.get_llm_provider(model)
        return name, provider
    provider, _, name = model.partition("/")
    return name, provider


def _quiet() -> None:
    """Neither output, nor log lines with content in them, nor calls nobody asked for."""
    litellm.suppress_debug_info = True
    litellm.disable_hf_tokenizer_download = True
    litellm.user_url_validation = True  # an image's URL must not lead into the operator's network
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=message)


_quiet()
