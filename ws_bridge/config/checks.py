"""What holds between the keys of a configuration: contradictions, and names that lead nowhere.

Rule 1: a problem is one line that names the key and the remedy. It repeats no value that could be a
secret in a wrong place.
Rule 2: a check reads the sections that it names. Where one of them has errors of its own, the check
would only repeat them, and is left out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator
from urllib.parse import urlsplit

from ws_bridge.config.addresses import parse_address
from ws_bridge.config.client_keys import client_keys, key_problems
from ws_bridge.config.model import FILE, STORE_SCHEMES, Config, Secrets, match_wildcard, shown_name
from ws_bridge.config.providers import PROVIDERS
from ws_bridge.config.settings import PLAIN, secrets_in

# The callbacks of litellm that a configuration may name: those that are told of a finished call,
# and need no proxy. Both releases that pyproject.toml lets in have them.
LITELLM_CALLBACKS = frozenset(
    """
    agentops argilla arize arize_phoenix azure_storage braintrust datadog datadog_llm_observability
    deepeval galileo gcs_bucket gcs_pubsub lago langfuse langfuse_otel langsmith
    langtrace literalai logfire mlflow openmeter opik otel posthog prometheus s3_v2 weave_otel
    """.split()
)
SECRET_LENGTH = 32  # characters: too many to try all

Check = Callable[[Config, Secrets], Iterator[str]]


def problems_of(config: Config, secrets: Secrets, broken: Collection[str] = ()) -> Iterator[str]:
    """All problems; ``broken`` are the sections that have errors of their own."""
    for sections, check in CHECKS:
        if not set(sections) & set(broken):
            yield from check(config, secrets)


def _check_names(config: Config, _secrets: Secrets) -> Iterator[str]:
    if not config.models:
        yield (
            "there is no [[models]] entry, so that no client can be served: add one, or let "
            "`ws-bridge init` write a file that has some"
        )
    for number, entry in enumerate(config.models, 1):
        if entry.name.count("*") > 1 or (entry.model.count("*") > entry.name.count("*")):
            yield (
                f"key 'models.name': '{entry.name}' → '{entry.model}': "
                "use at most one * in 'name', and one in 'model' only if 'name' has it"
            )
        provider = entry.model.partition("/")[0]
        if provider not in PROVIDERS:
            yield f"key 'models[{number}].model': {_unknown_provider(provider)}"
        if not _is_web_address(entry.api_base):
            yield (
                f"key 'models[{number}].api_base': it is no address: use one that begins with "
                "http:// or https:// and has a host"
            )
        for fallback in entry.fallbacks:
            yield from _check_fallback(config, entry.name, fallback)


def _is_web_address(text: str) -> bool:
    """Whether it can be asked, or is empty: the provider's own address."""
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an address, a port that is no number
        return False
    return not text or (has_host and parts.scheme in ("http", "https"))


def _unknown_provider(name: str) -> str:
    near = difflib.get_close_matches(name, PROVIDERS, 1)
    hint = f"is it '{near[0]}'? Else " if near else ""
    return f"there is no provider '{name}': {hint}docs.litellm.ai/docs/providers lists their names"


def _check_fallback(config: Config, name: str, fallback: str) -> Iterator[str]:
    key = f"key 'models.fallbacks' of '{name}'"
    names = [other.name for other in config.models]
    if "*" in fallback and "*" not in name:
        yield f"{key}: '{fallback}' has a * and the entry's name has none: name one"
    elif not any(fallback == name or match_wildcard(name, fallback) for name in names):
        yield f"{key}: no entry serves '{fallback}': use the name of another entry"


def _check_background(config: Config, _secrets: Secrets) -> Iterator[str]:
    polling, names = config.background.polling, {entry.name for entry in config.models}
    for provider in () if isinstance(polling, str) else polling:
        if provider not in PROVIDERS:
            yield f"key 'background.polling': {_unknown_provider(provider)}"
    for name in config.background.native_models:
        if name not in names:
            yield (
                f"key 'background.native_models': no entry has the name '{name}': use a 'name' of "
                "[[models]] as it is written there"
            )


def _check_client_keys(config: Config, secrets: Secrets) -> Iterator[str]:
    for name in config.auth.keys_env:
        if not secrets.get(name, "").strip(", "):
            yield (
                f"key 'auth.keys_env': {_variable(name)} is not set: "
                "set it to the client keys, or remove it from the list"
            )
    for number, entry in enumerate(config.keys, 1):
        if entry.key == entry.key_env != "" and not secrets.get(entry.key, "").strip(", "):
            yield (
                f"key 'keys[{number}].key_env': {_variable(entry.key)} is not set: "
                f"set it to the key of '{entry.name}'"
            )


def _check_addresses(config: Config, secrets: Secrets) -> Iterator[str]:
    has_keys = config.auth.keys_env or config.keys or client_keys(config, secrets)
    key = "listen" if config.server.listen else "host"
    for address in config.server.addresses():
        if not has_keys and not address.is_local:
            yield (
                f"key 'server.{key}': {address.host} is a public address and there are no "
                "client keys: name a variable with them in 'auth.keys_env', or listen on 127.0.0.1"
            )


def _check_server(config: Config, _secrets: Secrets) -> Iterator[str]:
    if bool(config.server.tls_cert) != bool(config.server.tls_key):
        yield "'server.tls_cert' and 'server.tls_key' go together: set both"


def _check_workers(config: Config, _secrets: Secrets) -> Iterator[str]:
    if config.server.workers > 1 and config.store.url.startswith("memory://"):
        yield (
            f"key 'server.workers': {config.server.workers} processes cannot share the store "
            "memory://, which lives in one: set 'store.url' to a Redis or Valkey, or 'workers' to 1"
        )


def _check_auth(config: Config, secrets: Secrets) -> Iterator[str]:
    yield from _check_secrets("auth.secret", config.auth.secret, secrets)


def _check_store(config: Config, secrets: Secrets) -> Iterator[str]:
    store = config.store
    if store.url.partition("://")[0] not in STORE_SCHEMES or "://" not in store.url:
        schemes = ", ".join(f"{scheme}://" for scheme in STORE_SCHEMES)
        yield f"key 'store.url': use one of {schemes}"
    if bool(store.tls_cert) != bool(store.tls_key):
        yield "'store.tls_cert' and 'store.tls_key' go together: set both"
    if not store.url.startswith("rediss") and (store.tls_ca or store.tls_cert):
        yield "keys 'store.tls_…': 'store.url' is without TLS: use rediss://, or remove these keys"
    if store.password == store.password_env != "" and not secrets.get(store.password_env):
        yield (
            f"key 'store.password_env': {_variable(store.password_env)} is not set: set it to the "
            "store's password, or remove the key"
        )
    yield from _check_secrets("store.encrypt_with", store.encrypt_with, secrets)


def _check_metrics(config: Config, secrets: Secrets) -> Iterator[str]:
    metrics = config.metrics
    if not metrics.listen:
        return
    if metrics.key_env and not secrets.get(metrics.key_env, "").strip():
        yield (
            f"key 'metrics.key_env': {_variable(metrics.key_env)} is not set: set it to the key of "
            "the page, or remove it"
        )
    address = parse_address(metrics.listen)
    if not metrics.key and not address.is_local:
        yield (
            f"key 'metrics.listen': {address.host} is a public address: name the page's key in "
            "'metrics.key_env' or 'metrics.key_file', or listen on 127.0.0.1"
        )


def _check_telemetry(config: Config, _secrets: Secrets) -> Iterator[str]:
    for name in config.telemetry.litellm_callbacks:
        if name not in LITELLM_CALLBACKS:
            near = difflib.get_close_matches(name, LITELLM_CALLBACKS, 1)
            hint = f"is it '{near[0]}'? Else " if near else ""
            yield (
                f"key 'telemetry.litellm_callbacks': litellm has no callback '{name}' that works "
                f"without its proxy: {hint}remove it"
            )


def _check_secrets(key: str, place: str, secrets: Secrets) -> Iterator[str]:
    known = [secret for secret in secrets_in(place, secrets) if secret != PLAIN]
    is_file = place.startswith(FILE)
    if is_file and place not in secrets:
        return  # the file could not be read, which is a problem of its own
    if place and (not known or any(len(secret) < SECRET_LENGTH for secret in known)):
        home = "its file" if is_file else _variable(place)
        yield (
            f"key '{key}_{'file' if is_file else 'env'}': "
            f"{home} must hold a secret of at least {SECRET_LENGTH} characters (several with "
            "commas): set it to the output of `openssl rand -hex 32`, or remove the key"
        )


def _variable(name: str) -> str:
    return f"the environment variable {shown}" if (shown := shown_name(name)) else "its variable"


CHECKS: tuple[tuple[tuple[str, ...], Check], ...] = (
    (("models",), _check_names),
    (("auth", "keys"), _check_client_keys),
    (("auth", "keys", "models"), key_problems),
    (("auth", "keys", "server"), _check_addresses),
    (("auth",), _check_auth),
    (("server",), _check_server),
    (("store",), _check_store),
    (("server", "store"), _check_workers),
    (("background", "models"), _check_background),
    (("metrics",), _check_metrics),
    (("telemetry",), _check_telemetry),
)
