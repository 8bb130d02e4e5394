"""`ws-bridge serve` at its most talkative: no secret gets out, and no client sends it anywhere."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest
import pytest_asyncio
from support import fleet
from support.fleet import KEYS, Bridge, Fresh
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.tcp_proxy import ReservedPort
from upstreams import FakeProviders

from defence.provider import Canary, Misbehaving, canary, misbehaving
from defence.watched import watched

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENT_KEY = "shapeless client key 7"
OTHER_KEY = f"sk-canary-{secrets.token_hex(8)}"
PLAIN_KEY = "another.shapeless.key.8"  # it could be a request's id
PAGE_KEY = "the key of the page of metrics"
PASSWORD = "store-password-canary"  # noqa: S105 - of a server of this test
OPERATORS = KEYS["KEY"]
# Providers of these answer on loopback; of the others they say 404, having heard the whole request.
FAMILIES = fleet.FAMILIES | {"gemini": ("gemini/gemini-*", "")}
UNANSWERED = {
    "cohere": ("cohere_chat/*", "/v2/chat"),
    "bedrock": ("bedrock/converse/amazon.nova-*", ""),
}
ALL = FAMILIES | UNANSWERED


@dataclass
class Field:
    """What runs for the tests of this file."""

    bridge: Bridge
    node: Node
    fake: FakeProviders
    odd: Misbehaving
    moved: Misbehaving
    canary: Canary
    session: aiohttp.ClientSession
    page_url: str

    async def page(self, key=PAGE_KEY):
        """Status and text of the page of metrics."""
        head = {"Authorization": f"Bearer {key}"}
        async with self.session.get(self.page_url, headers=head) as got:
            return got.status, f"{dict(got.headers)} {await got.text()}"

    async def post(self, model, *, key=CLIENT_KEY, more_head=None, **fields):
        """Status and text of a create."""
        head = {"Authorization": f"Bearer {key}", **(more_head or {})}
        body = {"model": model, "input": "hi", **fields}
        async with self.session.post(
            self.bridge.url + "/v1/responses", json=body, headers=head
        ) as got:
            return got.status, f"{dict(got.headers)} {await got.text()}"

    async def get(self, path, key=CLIENT_KEY):
        async with self.session.get(
            self.bridge.url + path, headers={"Authorization": f"Bearer {key}"}
        ) as got:
            return got.status, f"{dict(got.headers)} {await got.text()}"

    async def turn(self, model, protocols=(), head=None, **fields):
        """All that is heard of a turn."""
        sent = {"Authorization": f"Bearer {CLIENT_KEY}"} if head is None else head
        async with self.session.ws_connect(
            self.bridge.ws_url, headers=sent, protocols=protocols, max_msg_size=0
        ) as ws:
            await ws.send_json({"type": "response.create", "model": model, "input": "hi", **fields})
            heard = [str(ws._response.headers)]
            async with asyncio.timeout(HANG_SECONDS):
                async for message in ws:
                    heard.append(message.data)
                    if json.loads(message.data)["type"] in ENDS:
                        break
        return "\n".join(heard)


ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


def models(name, url):
    """One entry a family at a provider."""
    return [
        {
            "name": f"{name}-{family}-*",
            "model": model,
            "api_base": url + path,
            "api_key_env": "KEY",
            "retries": 0,
            "mode": "managed",
        }
        for family, (model, path) in ALL.items()
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def field() -> AsyncIterator[Field]:
    """Everything at once, with the log at its loudest."""
    async with AsyncExitStack() as ends:
        fake = ends.enter_context(FakeProviders())
        node = ends.enter_context(Node(valkey_binary(), password=PASSWORD))
        trap = await ends.enter_async_context(canary())
        odd = await ends.enter_async_context(misbehaving())
        moved = await ends.enter_async_context(misbehaving(f"http://127.0.0.1:{trap.port}"))
        reserved = ReservedPort()
        ends.callback(reserved.release)
        keys, page_key = (Path(ends.enter_context(TemporaryDirectory()), one) for one in "kp")
        keys.write_text(PLAIN_KEY)
        page_key.write_text(PAGE_KEY)
        listen = f"127.0.0.1:{reserved.number}"
        config = {
            "server": {"log_level": "debug", "log_format": "json", "access_log": True},
            "auth": {
                "keys_env": ["CLIENT_KEYS"],
                "keys_files": [str(keys)],
                "browser_subprotocol": True,
            },
            "metrics": {"listen": listen, "key_file": str(page_key)},
            "store": {"url": f"redis://127.0.0.1:{node.port}", "password_env": "STORE"},
            "limits": {"creates_per_minute": 0, "refused_per_minute": 0},
            "models": [
                *models("good", fake.base_url),
                *models("odd", odd.url),
                *models("moved", moved.url),
            ],
        }
        environ = {"CLIENT_KEYS": f"{CLIENT_KEY},{OTHER_KEY}", "STORE": PASSWORD}
        bridge = await ends.enter_async_context(Fresh(config, environ))
        session = await ends.enter_async_context(aiohttp.ClientSession())
        await bridge.wait_ready()
        yield Field(bridge, node, fake, odd, moved, trap, session, f"http://{listen}/metrics")


@pytest.mark.catalogue("S6", "S9", "U15", "B18")
async def test_secrets_and_contents_stay_where_they_belong(field):
    prompt = f"prompt-canary-{secrets.token_hex(4)}"
    wrong_key = f"sk-wrong-{secrets.token_hex(8)}"
    strange_key = "strange.key.of.no.shape"
    said = {"metadata": {"k": prompt}, "user": prompt, "instructions": prompt, "input": prompt}
    headers = {"X-Canary": prompt, "Cookie": f"a={prompt}", "OpenAI-Organization": prompt}
    heard = []
    async with watched(field.node, PASSWORD) as commands:
        for family in ALL:
            for model in (f"good-{family}-text", f"odd-{family}-400", f"odd-{family}-500"):
                heard.append(await field.post(model, more_head=headers, **said))
                heard.append(await field.turn(model, **said))
                heard.append(await field.turn(model, store=False, **said))
        status, body = await field.post("good-native-text", key=OTHER_KEY, **said)
        assert status == 200
        heard.append((status, body))
        for key in (wrong_key, strange_key):
            heard.append(await field.post("good-native-text", key=key))
            assert heard[-1][0] == 401
        names = ("api_key", "api-key", "key")
        heard += [await field.get(f"/v1/models?{name}={OTHER_KEY}") for name in names]
        browser = ("openai-insecure-api-key." + OTHER_KEY, "responses")
        heard.append(await field.turn("good-native-text", browser, head={}, input=prompt))
        for offered in ((f"openai-insecure-api-key.{wrong_key}",), (f"p-{wrong_key}",)):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await field.turn("good-native-text", offered, head={})
        heard.append(await field.turn("good-native-text", (f"unknown.{OTHER_KEY}",)))
        heard += [await field.get(f"/v1/nowhere?q={prompt}"), await field.post(prompt)]
        for given in (OTHER_KEY, PLAIN_KEY):  # their own clients get them back
            await field.post(prompt, more_head={"X-Request-Id": given})
        heard.append(await field.post(prompt, more_head={"X-Request-Id": f"id of {prompt}"}))
        heard += [await field.page(wrong_key), await field.page(CLIENT_KEY)]
        assert [status for status, _ in heard[-2:]] == [401, 401]
        page = await field.page()
        await _raw(field, f"GET /v1/responses?api_key={OTHER_KEY}\x00 HTTP/1.1\r\nX: {wrong_key}")
        metrics = await field.get("/metrics")
    secrets_ = (CLIENT_KEY, OTHER_KEY, PLAIN_KEY, PAGE_KEY)
    secrets_ += (wrong_key, strange_key, OPERATORS, PASSWORD)
    log = field.bridge.log()
    assert '"outcome": "completed"' in log, "it does log"
    assert '"request_id": "[redacted]"' in log
    assert 'ws_bridge_responses_total{key="CLIENT_KEYS",model="good-native-*"' in page[1]
    assert "good-native-text" not in page[1]
    for place, text in (
        ("log", log),
        ("metrics", str(metrics)),
        ("page", str(page)),
        ("commands", "".join(one for one in commands if '"AUTH"' not in one.upper())),
        ("keys", " ".join(field.node.cli("KEYS", "*"))),
        ("answers", str(heard)),
    ):
        assert [one for one in secrets_ if one in text] == [], place
    for text in (log, str(metrics), str(page), " ".join(field.node.cli("KEYS", "*"))):
        assert prompt not in text
        assert "upstream-canary" not in text
    assert field.odd.url.removeprefix("http://") not in str(heard)
    # In what the providers were sent: their own key, and of the client's head nothing.
    sent = [entry for entry in field.fake.log if entry.get("headers")]
    heads = json.dumps([[entry["headers"], entry["path"]] for entry in sent])
    heads += json.dumps([head for head, _ in field.odd.heard])
    assert OPERATORS in heads
    assert prompt not in heads
    assert [one for one in secrets_ if one in heads and one != OPERATORS] == []


async def _raw(field, head):
    """A head that aiohttp cannot read."""
    host, _, port = field.bridge.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(head.encode() + b"\r\n\r\n")
    async with asyncio.timeout(HANG_SECONDS):
        await reader.read()
    writer.close()


# What litellm and its clients take as arguments, and no client of the bridge may say.
BANNED = """
api_base base_url api_key api_version api_type organization project extra_headers headers
default_headers extra_query extra_body timeout request_timeout stream_timeout max_retries
num_retries mock_response custom_llm_provider model_list model_info fallbacks
context_window_fallbacks deployment_id azure_ad_token azure_endpoint tenant_id client_id
client_secret aws_access_key_id aws_secret_access_key aws_session_token aws_region_name
aws_profile_name aws_role_name aws_web_identity_token aws_sts_endpoint aws_bedrock_runtime_endpoint
vertex_project vertex_location vertex_credentials vertex_ai_project region_name client http_client
shared_session ssl_verify proxy proxies user_config litellm_params litellm_metadata
litellm_logging_obj callbacks success_callback failure_callback logger_fn input_cost_per_token cache
caching use_litellm_proxy metadata_url prompt_id prompt_variables guardrails allowed_openai_params
drop_params hf_model_name text_completion preset_cache_key configurable_clientside_auth_params
""".split()


def banned(url):
    """Each name with an address."""
    special = {name: {"X-Canary": url} for name in BANNED if name.endswith("headers")}
    return {name: special.get(name, url) for name in BANNED}


@pytest.mark.catalogue("S7", "S8", "U14")
async def test_no_client_makes_the_bridge_call_anybody(field):
    """Neither by arguments of litellm's, nor by addresses in what is asked, nor by a redirect."""
    port = field.canary.port
    hosts = ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "127.1", "0x7f.1")
    urls = [f"http://{host}:{port}/v1" for host in hosts]
    urls += ["http://169.254.169.254/latest", "file:///etc/passwd"]
    for family in ALL:
        model = f"good-{family}-text"
        for url in urls[:3]:
            names = banned(url)
            deeper = names | {"extra_body": names, "litellm_params": names}
            status, told = await field.post(model, **deeper)
            assert status in ((404,) if family in UNANSWERED else (200, 400)), told
            nested = {"metadata": {"api_base": url}, "reasoning": names, "text": names}
            await field.post(model, **nested, prompt=names, tool_choice=names, stream_options=names)
            await field.turn(model, **names, response=names)
        for url in urls:
            for part in _parts(url):
                asked = [{"type": "input_text", "text": "what is this"}, part]
                await field.post(model, input=[{"role": "user", "content": asked}])
        for tool in (tool for url in urls[:3] for tool in _tools(url)):
            await field.post(model, tools=[tool])
    for family in ALL:
        status, told = await field.post(f"moved-{family}-text")
        assert status >= 400, told
    assert len(field.moved.heard) == len(ALL)
    asked = json.dumps([entry["body"] for entry in field.fake.log])
    heard = " ".join(entry["path"] for entry in field.fake.log)
    ways = ("/v2/chat", "/converse-stream", ":streamGenerate")
    assert [way for way in ways if way not in heard] == []
    assert asked.count("a.png") >= len(urls), "it is the provider that is told the address"
    keyed = [visit for visit in field.canary.visits if OPERATORS.encode() in visit]
    assert keyed == [], "a redirect takes the operator's key along"
    assert field.canary.visits == []
    sent = json.dumps([[entry["headers"], entry["path"]] for entry in field.fake.log])
    assert f":{port}" not in sent


def _parts(url):
    return [
        {"type": "input_image", "image_url": f"{url}/a.png", "detail": "auto"},
        {"type": "input_file", "file_url": f"{url}/a.pdf"},
        {"type": "input_audio", "input_audio": {"data": f"{url}/a.mp3", "format": "mp3"}},
    ]


def _tools(url):
    return [
        {"type": "mcp", "server_label": "x", "server_url": url, "require_approval": "never"},
        {"type": "mcp", "server_label": "y", "server_url": "litellm_proxy/mcp/x"},
        {"type": "web_search", "search_context_size": url},
    ]
