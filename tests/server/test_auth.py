"""Keys, origins and hosts, decided before the upgrade."""

import aiohttp
import pytest
from support.scripted_upstream import Scripted, answer

KEYS = {"auth": {"keys_env": ["KEYS"]}}
ENVIRON = {"KEYS": "key-a, key-b"}


async def refusal(bridge, **options):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await bridge.session.ws_connect(bridge.url + "/v1/responses", **options)
    return refused.value.status


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer ", "Bearer wrong", "Basic key-a", "key-a", "Bearer key-a,"]
)
@pytest.mark.catalogue("S4")
async def test_a_missing_or_wrong_key_is_401_before_the_upgrade(serve, header):
    bridge = await serve(Scripted(answer("x")), KEYS, ENVIRON)
    headers = {"Authorization": header} if header else {}
    assert await refusal(bridge, headers=headers) == 401
    async with bridge.session.get(bridge.url + "/v1/models", headers=headers) as got:
        assert got.status == 401
        assert (await got.json())["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("key", ["key-a", "key-b"])
async def test_each_key_of_the_variable_opens(serve, key):
    bridge = await serve(Scripted(answer("x")), KEYS, ENVIRON)
    headers = {"Authorization": f"Bearer {key}"}
    ws = await bridge.session.ws_connect(bridge.url + "/v1/responses", headers=headers)
    await ws.send_json({"type": "response.create", "model": "m", "input": "x"})
    assert (await ws.receive_json())["type"] == "response.created"


@pytest.mark.catalogue("S6")
async def test_a_browser_key_opens_only_when_enabled_and_is_never_echoed(serve):
    protocols = ("responses", "openai-insecure-api-key.key-a")
    closed = await serve(Scripted(answer("x")), KEYS, ENVIRON)
    assert await refusal(closed, protocols=protocols) == 401
    config = {"auth": {"keys_env": ["KEYS"], "browser_subprotocol": True}}
    opened = await serve(Scripted(answer("x")), config, ENVIRON)
    ws = await opened.session.ws_connect(opened.url + "/v1/responses", protocols=protocols)
    assert ws.protocol == "responses"
    only_key = protocols[1:]
    ws = await opened.session.ws_connect(opened.url + "/v1/responses", protocols=only_key)
    assert ws.protocol is None


@pytest.mark.catalogue("S6")
async def test_a_key_in_the_query_is_refused(serve):
    bridge = await serve(Scripted(answer("x")), KEYS, ENVIRON)
    async with bridge.session.get(bridge.url + "/v1/models?api_key=key-a") as got:
        assert got.status == 400


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://ok.example.evil.example", "file://"]
)
@pytest.mark.catalogue("S5")
async def test_a_foreign_origin_is_403(serve, origin):
    bridge = await serve(
        Scripted(answer("x")), {"server": {"allowed_origins": ["https://ok.example"]}}
    )
    assert await refusal(bridge, headers={"Origin": origin}) == 403


async def test_its_own_origin_and_an_allowed_one_come_in(serve):
    bridge = await serve(
        Scripted(answer("x")), {"server": {"allowed_origins": ["https://ok.example"]}}
    )
    for origin in (bridge.url, "https://ok.example"):
        ws = await bridge.session.ws_connect(
            bridge.url + "/v1/responses", headers={"Origin": origin}
        )
        await ws.close()


async def test_without_keys_a_foreign_host_name_is_refused(serve):
    """A page that rebinds its own DNS name to this machine sends that name."""
    bridge = await serve(Scripted(answer("x")))
    headers = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert await refusal(bridge, headers=headers) == 403


@pytest.mark.catalogue("S16")
async def test_health_is_open_and_metrics_is_not(serve):
    bridge = await serve(Scripted(answer("x")), KEYS, ENVIRON)
    for path, status in (("/healthz", 200), ("/", 200), ("/metrics", 401), ("/v1/models", 401)):
        async with bridge.session.get(bridge.url + path) as got:
            assert (path, got.status) == (path, status)
