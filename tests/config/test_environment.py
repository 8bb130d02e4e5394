"""Variables that set keys of the configuration."""

import pytest
from support.refused_config import MODEL, refusal

from ws_bridge.config import load

SET = "WS_BRIDGE__SERVER__PORT"


@pytest.mark.parametrize(
    ("name", "text", "place", "value"),
    [
        ("SERVER__PORT", "9001", ("server", "port"), 9001),
        ("SERVER__HOST", "::1", ("server", "host"), "::1"),
        ("SERVER__DRAIN_SECONDS", "1.5", ("server", "drain_seconds"), 1.5),
        ("SERVER__REPORT_COST", "true", ("server", "report_cost"), True),
        ("BACKGROUND__POLLING", "none", ("background", "polling"), "none"),
        ("BACKGROUND__POLLING", '["openai"]', ("background", "polling"), ("openai",)),
        ("SERVER__ALLOWED_ORIGINS", '["https://a"]', ("server", "allowed_origins"), ("https://a",)),
        ("LIMITS__ASKED_MIB", "7", ("limits", "asked_mib"), 7),
    ],
)
def test_a_variable_replaces_a_key_of_the_file(write, name, text, place, value):
    """Its text becomes what the key wants; other keys of the section stay."""
    path = write("[server]\nport = 9000\nworkers = 1\n[limits]\nfollowers = 3\n")
    config = load(path, {f"WS_BRIDGE__{name}": text, "WS_BRIDGE_KEYS": "x"}).config
    assert getattr(getattr(config, place[0]), place[1]) == value
    assert config.limits.followers == 3


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(write):
    path = write("[server]\nport = 1\nworkers = 1\nhost = '127.0.0.1'\n")
    environ = {SET: "2", "WS_BRIDGE__SERVER__HOST": "127.0.0.2"}
    server = load(path, environ, port=3).config.server
    assert (server.port, server.host, server.workers) == (3, "127.0.0.2", 1)
    listen = {"WS_BRIDGE__SERVER__LISTEN": '["127.0.0.1:4"]'}
    assert load(path, listen).config.server.listen == ("127.0.0.1:4",)
    text = '[server]\nlisten = ["127.0.0.1:5"]\n'
    assert str(*load(write(text), {SET: "6"}).config.server.addresses()) == "127.0.0.1:6"


def test_the_model_table_is_one_variable(write):
    table = '[{"name": "n", "model": "openai/n", "retries": 1}]'
    (entry,) = load(write(MODEL), {"WS_BRIDGE__MODELS": table}).config.models
    assert (entry.name, entry.retries) == ("n", 1)


def test_the_file_stays_strict_where_variables_are_set(write):
    assert "'server.port'" in refusal(
        write('[server]\nport = "1"\n'), {"WS_BRIDGE__STORE__TTL_SECONDS": "5"}
    )
