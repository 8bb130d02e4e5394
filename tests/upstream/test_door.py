"""The door: a silent import, real streams for every model, and connections that close."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from upstreams.asking import HELLO, KEY, target

from ws_bridge.upstream import door
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.call import Call, access
from ws_bridge.upstream.fitting import Dialect


def run(code: str, **environ: str) -> str:
    """What a fresh Python says, on both of its outputs."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": "", "HOME": "", **environ},
        cwd=Path(__file__).parents[2],
        check=True,
        timeout=50,
    )
    return done.stdout


def test_the_import_says_nothing_connects_to_nothing_and_reads_no_env_file(tmp_path):
    (tmp_path / ".env").write_text("FROM_A_FILE=1\n")
    code = """
        import os, socket, sys, threading
        sys.path.insert(0, os.getcwd())
        os.chdir(os.environ["FOLDER"])
        def refuse(*_): raise SystemExit("a connection was opened")
        socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
        from ws_bridge.upstream import door
        assert threading.active_count() == 1, threading.enumerate()
        assert "FROM_A_FILE" not in os.environ
    """
    assert run(code, FOLDER=str(tmp_path)) == ""


def test_a_failing_call_prints_and_logs_nothing():
    said = run("""
        import asyncio, logging
        logging.basicConfig(level=logging.DEBUG)
        logging.getLogger("asyncio").setLevel(logging.WARNING)
        from ws_bridge.upstream import door
        from ws_bridge.upstream.call import Call
        from ws_bridge.upstream.base import Target
        from ws_bridge.upstream.fitting import Dialect
        HEARD = [{"role": "user", "content": "CONTENT"}]
        async def main():
            for model in ("openai/x", "groq/x", "anthropic/x"):
                target = Target("x", model, api_base="http://127.0.0.1:1", api_key="sk-secret")
                try:
                    await door.open_stream(Call(target, door.dialect_of(model), HEARD))
                except Exception:
                    pass
            await asyncio.sleep(0)
            await door.shutdown()
        asyncio.run(main())
    """)
    for word in ("sk-secret", "CONTENT", "Give Feedback", "Provider List", "Traceback"):
        assert word not in said


@pytest.mark.parametrize(
    ("model", "dialect"),
    [
        ("openai/gpt-4o", Dialect.NATIVE),
        ("openai/anything", Dialect.NATIVE),
        ("azure/my-deployment", Dialect.NATIVE),
        ("hosted_vllm/org/model", Dialect.NATIVE),
        ("openai/chat_completions/x", Dialect.CHAT),
        ("groq/x", Dialect.CHAT),
        ("gemini/x", Dialect.CHAT),
        ("ollama_chat/x", Dialect.CHAT),
        ("nosuch/x", Dialect.CHAT),
        ("anthropic/claude-x", Dialect.ANTHROPIC),
    ],
)
def test_a_model_is_spoken_to_in_its_providers_dialect(model, dialect):
    assert door.dialect_of(model) is dialect


def test_only_the_price_map_knows_who_reasons():
    assert door.reasons("openai/gpt-4o") is False
    assert door.reasons("openai/gpt-5") is True
    door.register([Target("x", "openai/of-my-own")])
    assert door.reasons("openai/of-my-own") is None


def test_a_known_model_keeps_its_entry_and_a_wildcard_waits_for_its_names():
    before = dict(door.litellm.model_cost["gpt-4o"])
    door.register([Target("a", "openai/gpt-4o"), Target("b", "openai/*"), Target("c", "groq/x")])
    assert door.litellm.model_cost["gpt-4o"] == before
    assert not {"openai/gpt-4o", "openai/*", "groq/x"} & door._ours


def test_names_that_clients_make_up_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(door, "WILDCARD_NAMES", 3)
    door._known.clear()
    for number in range(6):
        door._register_at_first_call(f"openai/made-up-{number}")
    kept = [key for key in door.litellm.model_cost if key.startswith("openai/made-up-")]
    assert kept == ["openai/made-up-3", "openai/made-up-4", "openai/made-up-5"]


async def test_an_ollama_model_is_not_looked_up_on_the_event_loop(fake):
    asked = target(fake, "ollama", "text")
    door.register([asked])
    opened, _ = await door.open_stream(Call(asked, Dialect.CHAT, [HELLO]))
    async for _ in door.chat_stream(opened):
        pass
    assert [entry["path"] for entry in fake.log] == ["/api/chat"]


def test_a_missing_key_is_not_looked_for_elsewhere():
    assert access(Target("x", "openai/x"))["api_key"] == "none"
    assert access(Target("x", "openai/x", api_key=KEY))["api_key"] == KEY
    assert "api_key" not in access(Target("x", "bedrock/x"))


def test_the_addresses_are_the_operators_or_the_providers_own():
    assert access(Target("x", "openai/x"))["api_base"] == "https://api.openai.com/v1"
    assert access(Target("x", "openai/x", api_base="http://a/v1"))["api_base"] == "http://a/v1"
    assert "api_base" not in access(Target("x", "groq/x"))
