"""litellm's calls: a silent import, real streams for every model, and connections that close."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import get_args

from support.hang import HANG_SECONDS
from upstreams.asking import request, target

from ws_bridge.config.checks import LITELLM_CALLBACKS
from ws_bridge.upstream.litellm import client, models
from ws_bridge.upstream.litellm.setup import litellm
from ws_bridge.upstream.litellm.upstream import call_of


def run(code: str, **environ: str) -> str:
    """The output of a fresh Python, standard error included."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": "", "HOME": "", **environ},
        cwd=Path(__file__).parents[3],
        check=True,
        timeout=HANG_SECONDS,
    )
    return done.stdout


def test_the_import_prints_nothing_connects_to_nothing_and_reads_no_env_file(tmp_path):
    (tmp_path / ".env").write_text("FROM_A_FILE=1\n")
    code = """
        import os, socket, sys, threading
        sys.path.insert(0, os.getcwd())
        os.chdir(os.environ["FOLDER"])
        def refuse(*_): raise SystemExit("a connection was opened")
        socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
        from ws_bridge.upstream.litellm import client
        assert threading.active_count() == 1, threading.enumerate()
        assert "FROM_A_FILE" not in os.environ
    """
    assert run(code, FOLDER=str(tmp_path)) == ""


def test_a_failing_call_prints_and_logs_nothing():
    text = run("""
        import asyncio, logging
        logging.basicConfig(level=logging.DEBUG)
        logging.getLogger("asyncio").setLevel(logging.WARNING)
        from ws_bridge.protocol.history import Chain
        from ws_bridge.upstream.litellm import client
        from ws_bridge.upstream.litellm.upstream import call_of
        from ws_bridge.upstream.base import Request, Target
        CHAIN = Chain(None, ({"type": "message", "role": "user", "content": "CONTENT"},))
        async def main():
            for model in ("openai/x", "groq/x", "anthropic/x"):
                target = Target("x", model, api_base="http://127.0.0.1:1", api_key="sk-secret")
                try:
                    await client.open_stream(call_of(Request(target, CHAIN, {})))
                except Exception:
                    pass
            await asyncio.sleep(0)
            await client.shutdown()
        asyncio.run(main())
    """)
    for word in ("sk-secret", "CONTENT", "Give Feedback", "Provider List", "Traceback"):
        assert word not in text


def test_a_stream_needs_no_mcp(providers):
    """The package is an extra of litellm's that is not asked for."""
    text = run(
        """
        import asyncio, os, sys
        sys.modules["mcp"] = None  # an import of it fails
        from ws_bridge.protocol.history import Chain
        from ws_bridge.upstream.litellm import client
        from ws_bridge.upstream.litellm.upstream import call_of
        from ws_bridge.upstream.base import Request, Target
        CHAIN = Chain(None, ({"type": "message", "role": "user", "content": "hi"},))
        async def main():
            for model, path in (("openai/gpt-x", "/v1"), ("groq/m", "/v1"), ("anthropic/c", "")):
                base = os.environ["PROVIDERS"] + path
                target = Target("x", model, api_base=base, api_key="sk-x")
                call = call_of(Request(target, CHAIN, {}))
                opened, _ = await client.open_stream(call)
                async for event in opened:
                    kind = event.type
                print(getattr(kind, "value", kind))
            await client.shutdown()
        asyncio.run(main())
        """,
        PROVIDERS=providers.base_url,
    )
    assert text.split() == ["response.completed"] * 3


async def test_an_ollama_model_is_not_looked_up_on_the_event_loop(fake):
    asked = target(fake, "ollama", "text")
    models.register([asked])
    opened, _ = await client.open_stream(call_of(request(asked)))
    async for _ in client.chat_stream(opened):
        pass
    assert [entry["path"] for entry in fake.log] == ["/api/chat"]


def test_litellm_has_every_callback_that_a_configuration_may_name():
    known = get_args(litellm._custom_logger_compatible_callbacks_literal)
    assert set(known) >= LITELLM_CALLBACKS
