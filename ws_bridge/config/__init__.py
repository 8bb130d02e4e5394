"""config.toml, the environment and the command line → one frozen value: ``Settings``."""

from ws_bridge.config.client_keys import ClientKey, KeyRules, client_keys
from ws_bridge.config.load import DEMO_TOML, load, load_key
from ws_bridge.config.model import Config, Limits, ModelEntry, Secrets, match_wildcard
from ws_bridge.config.settings import PLAIN, Settings, secrets_in

__all__ = [
    "DEMO_TOML",
    "PLAIN",
    "ClientKey",
    "Config",
    "KeyRules",
    "Limits",
    "ModelEntry",
    "Secrets",
    "Settings",
    "client_keys",
    "load",
    "load_key",
    "match_wildcard",
    "secrets_in",
]
