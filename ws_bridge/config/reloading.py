"""What a running server takes of a configuration that has changed.

Rule: listeners, the store and the number of workers stay as they are until a restart, and the
secrets that go with them. All else changes.
"""

from __future__ import annotations

from collections.abc import Iterator

from ws_bridge.config.model import Config
from ws_bridge.config.settings import Settings

FIXED_SECTIONS = ("store", "metrics", "telemetry")
FIXED_KEYS = {
    "server": (
        *("host", "port", "listen", "unix_mode", "control_socket"),
        *("workers", "max_message_mib", "log_format"),
    ),
    "auth": ("secret_env", "secret_file"),
}
TLS_KEYS = ("tls_cert", "tls_key")  # they change together, but TLS neither comes nor goes


def merged(running: Settings, wanted: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The wanted settings, as far as a running server can have them, and the keys that stay.

    A key stays if its value, or the secret that it names, differs and cannot change.
    """
    old, new = running.config, wanted.config
    stays = [key for key in _fixed(old, new) if _value(running, key) != _value(wanted, key)]
    config, secrets = new, dict(wanted.secrets)
    for key in stays:
        section, _, name = key.partition(".")
        kept = {name: getattr(getattr(old, section), name)}
        changed = getattr(config, section).model_copy(update=kept)
        config = config.model_copy(update={section: changed})
    auth, store = config.auth.secret, config.store
    for place in (auth, store.password, store.encrypt_with, config.metrics.key):
        if place in running.secrets:
            secrets[place] = running.secrets[place]
    return Settings(config, secrets), tuple(stays)


def _fixed(old: Config, new: Config) -> Iterator[str]:
    """The keys that cannot change."""
    for section in FIXED_SECTIONS:
        for name in type(getattr(new, section)).model_fields:
            yield f"{section}.{name}"
    for section, names in FIXED_KEYS.items():
        for name in names:
            yield f"{section}.{name}"
    if old.store.url.startswith("memory://"):
        yield "limits.scope"
    if bool(old.server.tls_cert) != bool(new.server.tls_cert):
        for name in TLS_KEYS:
            yield f"server.{name}"


def _value(settings: Settings, key: str) -> tuple[object, str | None]:
    """A key's value, and the secret that it names."""
    section, _, name = key.partition(".")
    value = getattr(getattr(settings.config, section), name)
    place = f"file:{value}" if name.endswith("_file") else str(value)
    return value, settings.secrets.get(place) if name.endswith(("_env", "_file")) else None
