"""The way to a provider as litellm knows it: address, credentials, signature, certificates.

Rule 1: litellm is asked for these parts only: the dialect writes what is sent, and the bridge's own
client sends it.
Rule 2: where the operator named no key, none is taken from the environment, but for providers that
the machine's own identity signs for: see `call`.
Rule 3: what does not depend on a request is found once for each target, and so many are kept.

Importing this takes seconds: import it in a thread.
"""

from __future__ import annotations

import asyncio
import os
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

from ws_bridge.errors import UpstreamError
from ws_bridge.types import Json
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.errors import NotSent
from ws_bridge.upstream.http.base import Access
from ws_bridge.upstream.http.client import HttpClient
from ws_bridge.upstream.litellm import internals, models
from ws_bridge.upstream.litellm.call import access as access_of
from ws_bridge.upstream.litellm.setup import litellm
from ws_bridge.upstream.profiles import account_headers, profile_of

TARGETS_KEPT = 1024  # clients make up the names of wildcards
NO_WAY = "The bridge does not know how to ask this model's provider."
NO_IDENTITY = "The bridge has no credentials for this model's provider."
MESSAGES = "/v1/messages"
WHOLE_URL = "LITELLM_ANTHROPIC_DISABLE_URL_SUFFIX"  # litellm's own: addresses have their path
COMPLETIONS = "/completions"
COHERE_CHAT = "https://api.cohere.com/v2/chat"
# Headers of a request whose values are lists: those of the dialect are added to litellm's.
LISTS = frozenset({"anthropic-beta"})
HELLO: list[Json] = [{"role": "user", "content": "hi"}]  # the credentials do not depend on it

_ProviderConfigs = internals.load(internals.PROVIDER_CONFIGS)
_ProviderNames = internals.load(internals.PROVIDER_NAMES)
_LitellmParams = internals.load(internals.LITELLM_PARAMS)
_gemini_url = internals.load(internals.GEMINI_URL)
_bearer_token = internals.load(internals.BEARER_OF)
_aws = internals.load(internals.BEDROCK)()  # one, because it remembers identities


@dataclass(frozen=True, slots=True)
class KeyAccess:
    """An ``Access`` by a key: every request has the same headers."""

    url: str
    credentials: Mapping[str, str] = field(repr=False)

    async def headers(self, given: Mapping[str, str], body: bytes) -> Mapping[str, str]:  # noqa: ARG002
        """See ``Access``."""
        return _merged(self.credentials, given)


@dataclass(frozen=True, slots=True)
class SignedAccess:
    """An ``Access`` by the machine's own AWS identity: every request is signed."""

    url: str
    region: str

    async def headers(self, given: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """See ``Access``. In a thread: a new identity may be fetched from a server."""
        return await asyncio.to_thread(partial(self._signed, dict(given), body))

    def _signed(self, given: Json, body: bytes) -> Mapping[str, str]:
        try:
            identity = internals.AWS_CREDENTIALS.of(_aws)(aws_region_name=self.region)
            prepared = internals.AWS_HEADERS.of(_aws)(
                credentials=identity,
                aws_region_name=self.region,
                extra_headers=None,
                endpoint_url=self.url,
                data=body,
                headers=given,
            )
        except Exception as failure:  # of botocore, and of litellm
            raise UpstreamError(NO_IDENTITY, status=500) from failure
        return dict(prepared.headers)


@dataclass(frozen=True, slots=True)
class LitellmTarget:
    """What litellm needs to know of a target: its names, address and key."""

    model: str
    provider: str
    api_base: str
    api_key: str = field(repr=False)
    config: Any = field(repr=False)

    def credentials(self) -> dict[str, str]:
        """The headers that prove who asks."""
        given = internals.CREDENTIALS.of(self.config)(
            api_key=self.api_key,
            headers={},
            model=self.model,
            messages=HELLO,
            optional_params={},
            litellm_params={},
            api_base=self.api_base or None,
        )
        return {str(name).lower(): str(value) for name, value in given.items()}


async def find(target: Target) -> Access:
    """See ``FindAccess``: the way to a target of a family that `models.family_of` names."""
    if profile_of(target.provider).signs_itself:  # settings are read from files and servers
        return await asyncio.to_thread(_found, target)
    return _found(target)


def http_client() -> HttpClient:
    """A client with the certificates and proxies that litellm's own clients would use."""
    refuses_proxies = litellm.disable_aiohttp_trust_env or os.environ.get(
        "DISABLE_AIOHTTP_TRUST_ENV", ""
    ).strip().lower() in ("true", "1")
    return HttpClient(internals.load(internals.TLS)(), {} if refuses_proxies else None)


def forget() -> None:
    """Find the way to each target anew: keys of earlier settings are not kept."""
    _found.cache_clear()


@lru_cache(maxsize=TARGETS_KEPT)
def _found(target: Target) -> Access:
    way = WAYS.get(models.family_of(target))
    if way is None:
        raise NotSent(NO_WAY)
    try:
        found = way(_place(target))
    except UpstreamError:
        raise
    except Exception as failure:  # of litellm: a setting is missing
        raise UpstreamError(NO_IDENTITY, status=500) from failure
    account = account_headers(target.provider, os.environ)
    if isinstance(found, KeyAccess) and account:
        return replace(found, credentials={**account, **found.credentials})
    return found


def _place(target: Target) -> LitellmTarget:
    given = access_of(target)
    base, key = given.get("api_base"), given.get("api_key")
    name, provider = models.name_of(target.model)
    _, _, litellms_key, litellms_base = litellm.get_llm_provider(
        target.model, api_base=base, api_key=key
    )
    config = internals.CHAT_CONFIG.of(_ProviderConfigs)(name, _ProviderNames(provider))
    return LitellmTarget(
        name, provider, litellms_base or base or "", litellms_key or key or "", config
    )


def _openai_chat(place: LitellmTarget) -> Access:
    url = internals.CHAT_URL.of(place.config)(
        api_base=place.api_base or None,
        api_key=place.api_key,
        model=profile_of(place.provider).address_model or place.model,
        optional_params={},
        litellm_params={},
        stream=True,
    )
    return KeyAccess(url, place.credentials())


def _responses(place: LitellmTarget) -> Access:
    config = internals.RESPONSES_CONFIG.of(_ProviderConfigs)(place.provider, model=place.model)
    url = internals.CHAT_URL.of(config)(api_base=place.api_base or None, litellm_params={})
    key = _LitellmParams(api_key=place.api_key, api_base=place.api_base or None)
    given = internals.CREDENTIALS.of(config)(headers={}, model=place.model, litellm_params=key)
    return KeyAccess(url, {str(name).lower(): str(value) for name, value in given.items()})


def _anthropic(place: LitellmTarget) -> Access:
    base = place.api_base.rstrip("/")
    is_own = base != profile_of(place.provider).address
    is_whole = is_own and os.environ.get(WHOLE_URL, "").strip().lower() == "true"
    url = place.api_base if is_whole else base.removesuffix(MESSAGES) + MESSAGES
    return KeyAccess(url, place.credentials())


def _gemini(place: LitellmTarget) -> Access:
    url, action = _gemini_url(mode="chat", model=place.model, stream=True)
    if place.api_base:
        url = f"{place.api_base.rstrip('/')}/models/{place.model}:{action}?alt=sse"
    return KeyAccess(url, {"x-goog-api-key": place.api_key})


def _cohere(place: LitellmTarget) -> Access:
    url = place.api_base or COHERE_CHAT
    return KeyAccess(url, place.credentials())


def _completions(place: LitellmTarget) -> Access:
    base = place.api_base.rstrip("/")
    url = base if base.endswith(COMPLETIONS) else base + COMPLETIONS
    return KeyAccess(url, {"authorization": f"Bearer {place.api_key}"})


def _bedrock(place: LitellmTarget) -> Access:
    region = internals.AWS_REGION.of(_aws)(optional_params={}, model=place.model)
    _, endpoint = internals.AWS_ENDPOINT.of(_aws)(
        api_base=place.api_base or None,
        aws_bedrock_runtime_endpoint=None,
        aws_region_name=region,
    )
    model = urllib.parse.quote(place.model, safe="")
    url = f"{endpoint.rstrip('/')}/model/{model}/converse-stream"
    if token := _bearer_token(place.api_key or None):
        credentials = {"authorization": f"Bearer {token}"}
        return KeyAccess(url, credentials)
    return SignedAccess(url, region)


# By family.
WAYS: Mapping[str, Callable[[LitellmTarget], Access]] = {
    "anthropic": _anthropic,
    "bedrock": _bedrock,
    "cohere": _cohere,
    "completions": _completions,
    "gemini": _gemini,
    "openai_chat": _openai_chat,
    "responses": _responses,
}


def _merged(credentials: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The headers of both; a dialect's own goes before litellm's, but for lists and credentials."""
    merged = dict(credentials)
    for name, value in given.items():
        lowered = name.lower()
        if lowered in LISTS and lowered in merged:
            value = f"{merged[lowered]},{value}"  # noqa: PLW2901
        merged[lowered] = value
    return merged
