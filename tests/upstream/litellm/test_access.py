"""The way to a provider: where litellm itself would call, with the same proof of who asks."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.base import ProviderRequest
from ws_bridge.upstream.errors import NotSent
from ws_bridge.upstream.litellm import access, client, models
from ws_bridge.upstream.litellm.call import Call
from ws_bridge.upstream.litellm.call import access as arguments_of
from ws_bridge.upstream.litellm.setup import litellm

KEY = "sk-of-the-operator"
# model, what follows the address in `api_base`, and what is asked
PLACES = [
    ("openai/chat_completions/gpt-4o", "/v1", "/v1/chat/completions"),
    ("groq/llama-3.3-70b", "/openai/v1", "/openai/v1/chat/completions"),
    ("deepseek/deepseek-chat", "", "/chat/completions"),
    ("deepseek/deepseek-chat", "/v1", "/v1/chat/completions"),
    ("mistral/magistral-medium-latest", "/v1", "/v1/chat/completions"),
    ("mistral/magistral-medium-latest", "", "/v1/chat/completions"),
    ("dashscope/qwen3-max", "/compatible-mode/v1", "/compatible-mode/v1/chat/completions"),
    ("moonshot/kimi-k3", "/v1", "/v1/chat/completions"),
    ("zai/glm-4.7", "/api/paas/v4", "/api/paas/v4/chat/completions"),
    ("snowflake/llama3.1-70b", "/api/v2", "/api/v2/cortex/v1/chat/completions"),
    ("huggingface/meta-llama/llama-3.1-8b-instruct", "/v1", "/v1/chat/completions"),
    ("together_ai/x/y", "/v1", "/v1/chat/completions"),
    ("cerebras/x", "/v1", "/v1/chat/completions"),
    ("deepinfra/x", "/v1/openai", "/v1/openai/chat/completions"),
    ("fireworks_ai/chat_completions/accounts/x", "/v1", "/v1/chat/completions"),
    ("nebius/x", "/v1", "/v1/chat/completions"),
    ("nvidia_nim/x", "/v1", "/v1/chat/completions"),
    ("sambanova/x", "/v1", "/v1/chat/completions"),
    ("lm_studio/x", "/v1", "/v1/chat/completions"),
    ("xai/chat_completions/grok-3-mini", "/v1", "/v1/chat/completions"),
    ("openai/gpt-4o", "/v1", "/v1/responses"),
    ("openai/of-their-own", "", "/responses"),
    ("xai/grok-4", "/v1", "/v1/responses"),
    ("anthropic/claude-sonnet-4-5", "", "/v1/messages"),
    ("anthropic/claude-sonnet-4-5", "/proxy", "/proxy/v1/messages"),
    ("anthropic/claude-sonnet-4-5", "/v1/messages", "/v1/messages"),
    (
        "gemini/gemini-2.5-pro",
        "/v1beta",
        "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    ),
    ("text-completion-openai/gpt-3.5-turbo-instruct", "/v1", "/v1/completions"),
    ("text-completion-codestral/codestral-2405", "/v1/fim/completions", "/v1/fim/completions"),
    ("cohere_chat/command-a-03-2025", "/v2/chat", "/v2/chat"),
    ("cohere/command-a-03-2025", "/v2/chat", "/v2/chat"),
    ("bedrock/us.amazon.nova-pro-v1:0", "", "/model/us.amazon.nova-pro-v1%3A0/converse-stream"),
    (
        "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "",
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream",
    ),
]
# Headers that say who asks, or that a provider reads.
PROOFS = frozenset(
    {
        *("authorization", "x-api-key", "x-goog-api-key", "anthropic-version", "request-source"),
        *("x-snowflake-authorization-token-type", "x-pplx-integration", "http-referer", "x-title"),
        *("openai-organization", "openai-project"),
    }
)


@dataclass
class Provider:
    """A server that refuses everything, and remembers where it was asked."""

    base_url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        proofs = {n.lower(): v for n, v in request.headers.items() if n.lower() in PROOFS}
        self.asked.append((request.path_qs, proofs))
        return web.json_response({"error": {"message": "no"}}, status=400)


@pytest.fixture
async def provider():
    one = Provider()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", one.answer)
    async with TestServer(app) as server:
        one.base_url = str(server.make_url("")).rstrip("/")
        yield one
    await client.shutdown()


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch, tmp_path):
    for name in (
        *("AWS_PROFILE", "AWS_REGION", "AWS_REGION_NAME", "AWS_BEARER_TOKEN_BEDROCK"),
        *("OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT", "OPENAI_PROJECT_ID"),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHEMACHINE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-machine")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    access._found.cache_clear()


def target_of(model: str, api_base: str, key: str = KEY) -> Target:
    return Target("x", model, api_base=api_base, api_key=key, retries=0)


async def litellms(target: Target) -> None:
    """Call the provider through litellm; it refuses."""
    is_native = models.is_native(target.model)
    of_this_loop = client._client_of(Call(target, ProviderRequest({}), is_native))
    arguments = arguments_of(target) | of_this_loop | {"model": target.model, "stream": True}
    with suppress(Exception):
        if is_native:
            stream = await litellm.aresponses(**arguments, input="hi")
        else:
            hello = [{"role": "user", "content": "hi"}]
            stream = await litellm.acompletion(**arguments, messages=hello)
        async for _ in stream:
            pass


def without_signature(asked: tuple[str, dict[str, str]]) -> tuple[str, dict[str, str]]:
    path, proofs = asked
    return path, {name: value.partition(", Signature=")[0] for name, value in proofs.items()}


@pytest.mark.parametrize("is_keyed", [True, False], ids=["key", "no-key"])
@pytest.mark.parametrize(("model", "path", "expected"), PLACES, ids=lambda v: v or "bare")
async def test_a_provider_is_asked_where_litellm_asks_it_and_with_the_same_proof(
    provider, model, path, expected, is_keyed
):
    target = target_of(model, provider.base_url + path, KEY if is_keyed else "")
    await litellms(target)
    found = await access.find(target)
    headers = await found.headers({"content-type": "application/json"}, b"{}")
    http = access.http_client()
    await http.start()
    answer = await http.post(found.url, headers, b"{}", 1000)
    await answer.close()
    await http.close()
    theirs, ours = (without_signature(asked) for asked in provider.asked)
    assert ours == theirs
    assert ours[0] == expected


ACCOUNTS = [
    ({"OPENAI_ORGANIZATION": "org-1"}, {"openai-organization": "org-1"}),
    (
        {"OPENAI_ORG_ID": "org-2", "OPENAI_PROJECT_ID": "proj-2"},
        {"openai-organization": "org-2", "openai-project": "proj-2"},
    ),
    ({"OPENAI_PROJECT": "proj-3", "OPENAI_PROJECT_ID": "proj-2"}, {"openai-project": "proj-3"}),
    ({"OPENAI_ORGANIZATION": ""}, {}),
]


@pytest.mark.parametrize(("environ", "expected"), ACCOUNTS)
@pytest.mark.parametrize(
    "model",
    [
        *("openai/gpt-4o", "openai/chat_completions/gpt-4o"),
        "text-completion-openai/gpt-3.5-turbo-instruct",
    ],
)
async def test_openai_is_told_the_organization_and_the_project_and_nobody_else_is(
    provider, monkeypatch, model, environ, expected
):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    async def told(model):
        await litellms(target_of(model, provider.base_url + "/v1"))
        found = await access.find(target_of(model, provider.base_url + "/v1"))
        ours = await found.headers({}, b"")
        theirs = provider.asked[-1][1]
        return [
            {name: value for name, value in dict(asked).items() if name.startswith("openai-")}
            for asked in (ours, theirs)
        ]

    assert await told(model) == [expected] * 2
    assert (await told("groq/x"))[0] == {}


@pytest.mark.parametrize("is_whole", ["true", "True", "false", ""])
async def test_an_address_of_anthropic_s_kind_is_whole_where_litellm_is_told_so(
    provider, monkeypatch, is_whole
):
    monkeypatch.setenv("LITELLM_ANTHROPIC_DISABLE_URL_SUFFIX", is_whole)
    target = target_of("anthropic/claude-x", f"{provider.base_url}/proxy/messages")
    await litellms(target)
    found = await access.find(target)
    [(theirs, _)] = provider.asked
    assert found.url == provider.base_url + theirs
    assert theirs.endswith("/v1/messages") is (is_whole.lower() != "true")
    own = await access.find(target_of("anthropic/claude-x", ""))
    assert own.url == "https://api.anthropic.com/v1/messages"


async def test_a_slash_at_the_end_of_an_address_is_not_doubled():
    for model, end in (("anthropic/claude-x", "/v1/messages"), ("gemini/x", "/models/x:")):
        found = await access.find(target_of(model, "http://h/proxy/"))
        assert found.url.startswith(f"http://h/proxy{end}")


async def test_claude_at_snowflake_is_asked_in_its_chat_dialect():
    found = await access.find(target_of("snowflake/claude-sonnet-4-6", "http://h/api/v2"))
    assert found.url == "http://h/api/v2/cortex/v1/chat/completions"


async def test_without_an_address_the_providers_own_is_asked():
    urls = {
        "openai/chat_completions/gpt-4o": "https://api.openai.com/v1/chat/completions",
        "groq/x": "https://api.groq.com/openai/v1/chat/completions",
        "anthropic/claude-x": "https://api.anthropic.com/v1/messages",
        "gemini/gemini-2.5-pro": "https://generativelanguage.googleapis.com/v1beta"
        "/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        "cohere/command-a": "https://api.cohere.com/v2/chat",
        "bedrock/us.amazon.nova-pro-v1:0": "https://bedrock-runtime.eu-central-1.amazonaws.com"
        "/model/us.amazon.nova-pro-v1%3A0/converse-stream",
    }
    for model, url in urls.items():
        assert (await access.find(target_of(model, ""))).url == url


@pytest.mark.parametrize("model", ["groq/x", "anthropic/claude-x", "gemini/gemini-x", "cohere/x"])
async def test_no_key_of_the_environment_goes_out_where_the_operator_named_none(
    provider, model, monkeypatch
):
    for name in ("GROQ_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "COHERE_API_KEY"):
        monkeypatch.setenv(name, "sk-meant-for-another-program")
    found = await access.find(target_of(model, provider.base_url, key=""))
    assert "sk-meant" not in json.dumps(dict(await found.headers({}, b"")))


async def test_a_signature_is_of_the_very_bytes_that_are_sent():
    found = await access.find(target_of("bedrock/us.amazon.nova-pro-v1:0", "http://h", key=""))
    one, two = [await found.headers({}, body) for body in (b'{"a":1}', b'{"a":2}')]
    assert "AKIDOFTHEMACHINE/" in one["Authorization"]
    assert "/eu-central-1/bedrock/" in one["Authorization"]
    assert one["Authorization"] != two["Authorization"]


async def test_bedrock_takes_a_key_of_its_own(provider):
    found = await access.find(target_of("bedrock/us.amazon.nova-pro-v1:0", provider.base_url))
    assert (await found.headers({}, b""))["authorization"] == f"Bearer {KEY}"


async def test_headers_of_the_dialect_are_added_and_betas_are_joined():
    found = await access.find(target_of("anthropic/claude-x", ""))
    headers = await found.headers({"Anthropic-Beta": "a-1", "X-Of-Dialect": "y"}, b"")
    assert headers["x-of-dialect"] == "y"
    assert headers["anthropic-beta"].endswith("a-1")
    assert headers["x-api-key"] == KEY


async def test_a_machine_without_an_identity_is_no_fault_of_the_provider(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = await access.find(target_of("bedrock/us.amazon.nova-lite-v1:0", "http://h", key=""))
    with pytest.raises(UpstreamError) as failed:
        await found.headers({}, b"")
    assert (failed.value.status, failed.value.message) == (500, access.NO_IDENTITY)


async def test_what_litellm_opens_has_no_way_here():
    for model in ("azure/gpt", "vertex_ai/gemini-2.5-pro", "ollama_chat/x"):
        with pytest.raises(NotSent):
            await access.find(target_of(model, "http://h"))


async def test_a_way_is_found_once_for_each_target_and_so_many_are_kept():
    target = target_of("groq/x", "http://h")
    assert await access.find(target) is await access.find(target)
    for number in range(access.TARGETS_KEPT + 1):
        await access.find(target_of(f"groq/{number}", "http://h"))
    assert access._found.cache_info().currsize == access.TARGETS_KEPT


async def test_a_way_does_not_show_its_key():
    assert KEY not in repr(await access.find(target_of("groq/x", "http://h")))


async def test_certificates_and_proxies_are_those_of_litellm(monkeypatch):
    monkeypatch.setenv("SSL_VERIFY", "False")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    made = access.http_client()
    assert made._tls is False
    assert made._proxies["https"] == "http://proxy.example:3128"
    monkeypatch.setenv("DISABLE_AIOHTTP_TRUST_ENV", "True")
    assert access.http_client()._proxies == {}


def test_the_ways_are_those_of_the_families():
    families = {models.family_of(target_of(model, "http://h")) for model, _, _ in PLACES}
    assert families == set(access.WAYS)


async def test_finding_does_not_hold_the_loop_for_signing_providers():
    model = "bedrock/us.amazon.nova-pro-v1:0"
    finding = asyncio.ensure_future(access.find(target_of(model, "http://h", key="")))
    await asyncio.sleep(0)
    assert not finding.done()
    assert isinstance(await finding, access.SignedAccess)
