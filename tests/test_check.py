"""`ws-bridge check` on scripted upstreams, and on the table that a real config makes."""

import asyncio
import io
import re

import pytest
from support.scripted_upstream import Scripted

from ws_bridge.check import check
from ws_bridge.config import Config, ModelEntry
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.upstream import model_table


def delta(text):
    return Draft("response.output_text.delta", {"delta": text})


def end(status="completed", **response):
    return Draft(f"response.{status}", {"response": {"status": status, **response}})


class ByModel(Scripted):
    """An upstream with a script for each model."""

    def __init__(self, **scripts):
        super().__init__(lambda request: scripts[request.target.name])


def table(*names, environ=None, **fields):
    entries = tuple(ModelEntry(name=name, model=f"openai/{name}", **fields) for name in names)
    return model_table.build(Config(models=entries), environ or {}).all


async def checked(entries, upstream, **options):
    out, ticks = io.StringIO(), iter([0.0, 0.214] * 9)
    code = await check(entries, upstream, out, now=lambda: next(ticks), **options)
    return code, out.getvalue()


async def test_each_model_is_asked_once_and_gets_a_line():
    upstream = ByModel(demo=[delta("OK"), delta(", here."), end()], gpt=[delta("OK"), end()])
    code, out = await checked(table("demo", "gpt"), upstream)
    assert out == "ok   demo  0.21 s  OK, here.\nok   gpt   0.21 s  OK\n"
    assert code == 0
    (request, _) = upstream.requests
    assert request.options == {"max_output_tokens": 16}
    assert [item["content"] for item in request.input()] == ["Say OK."]
    assert upstream.open_now == 0


async def test_a_refusal_is_one_line_and_fails_the_check():
    refusal = UpstreamError("The model provider refused\nthe bridge's credentials.", status=401)
    upstream = ByModel(bad=[refusal], good=[delta("OK"), end()])
    code, out = await checked(table("bad", "good"), upstream)
    first, second = out.splitlines()
    assert first == "FAIL bad   401 The model provider refused the bridge's credentials."
    assert second.startswith("ok   good  ")
    assert code == 1


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ([end("failed", error={"code": "server_error", "message": "Broken."})], "502 Broken."),
        ([end("failed", error=None)], "502 The model failed."),
        ([delta("O")], "502 The answer ended without an end."),
        ([delta("O"), UpstreamError("Gone.", status=503)], "503 Gone."),
        ([asyncio.Event()], "no answer within 0.01 s"),
    ],
)
async def test_every_other_way_to_fail_is_one_line_too(script, text):
    upstream = ByModel(m=script)
    code, out = await checked(table("m"), upstream, limit_seconds=0.01)
    assert (code, out) == (1, f"FAIL m  {text}\n")
    assert upstream.open_now == 0


async def test_a_model_that_thinks_until_the_limit_is_fine():
    details = {"reason": "max_output_tokens"}
    upstream = ByModel(m=[end("incomplete", incomplete_details=details)])
    code, out = await checked(table("m"), upstream)
    assert (code, out) == (0, "ok   m  0.21 s  (no text)\n")


async def test_entries_that_are_off_have_their_reason_and_do_not_fail():
    off = table("claude-3", api_key_env="ANTHROPIC_API_KEY")
    code, out = await checked(off, ByModel())
    assert (code, out) == (0, "off  claude-3  ANTHROPIC_API_KEY is not set\n")


async def test_wildcards_are_skipped_with_a_word_why():
    entry = ModelEntry(name="gpt-*", model="openai/gpt-*")
    code, out = await checked(model_table.build(Config(models=(entry,)), {}).all, ByModel())
    assert code == 0
    assert out.startswith("skip gpt-*  a wildcard ")


async def test_a_models_text_stays_in_its_line():
    upstream = ByModel(m=[delta("a\x1b[2J\n" + "long " * 50), end()])
    _, out = await checked(table("m"), upstream)
    assert re.fullmatch(r"ok   m  0\.21 s  a \[2J( long){1,12} ?\w*\n", out)


async def test_an_empty_table_passes():
    assert await checked((), ByModel()) == (0, "")
