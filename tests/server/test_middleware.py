"""In: refused too often from one address. Out: errors in the form of docs/protocol.md §4.1."""

import aiohttp
import pytest
from support.scripted_upstream import Scripted, answer

from ws_bridge.clock import Clock
from ws_bridge.upstream.base import Request

ENVIRON = {"KEYS": "key-a"}
KEYED = {"auth": {"keys_env": ["KEYS"]}}
GOOD, WRONG = ({"Authorization": f"Bearer {key}"} for key in ("key-a", "wrong"))
MESSAGES = "Too many requests from this address were refused (60 per minute). Try again in {}s."


class Time:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self):
        return self.now


async def ask(bridge, headers, path="/v1/models", session=None):
    async with (session or bridge.session).get(bridge.url + path, headers=headers) as got:
        return got.status, got.headers.get("Retry-After"), (await got.json()).get("error")


@pytest.fixture
async def other_address():
    """A session that comes from another address of this machine."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    ) as session:
        yield session


async def test_after_sixty_refusals_an_address_is_told_to_wait_and_a_valid_key_still_passes(
    serve, other_address
):
    now = Time()
    bridge = await serve(Scripted(answer("x")), KEYED, ENVIRON, clock=Clock(monotonic=now))
    for headers in (WRONG, {}, {"Origin": "https://evil.example", **GOOD}) * 20:
        status, wait, error = await ask(bridge, headers)
        assert (status, wait) in ((401, None), (403, None))
    now.now += 12.5
    for path in ("/v1/models", "/v1/responses", "/v1/nothing", "/metrics"):
        status, wait, error = await ask(bridge, WRONG, path)
        assert (status, wait) == (429, "48")
        assert error["code"] == "rate_limit_exceeded"
        assert error["message"] == MESSAGES.format(48)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await bridge.connect(headers=WRONG)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "48")

    assert (await ask(bridge, GOOD))[0] == 200
    client = await bridge.connect(headers=GOOD)
    assert (await client.turn(input="x"))[-1]["type"] == "response.completed"
    assert (await ask(bridge, WRONG, session=other_address))[0] == 401

    now.now += 47.5
    assert (await ask(bridge, WRONG))[0] == 401


async def test_what_needs_no_key_is_never_refused(serve):
    bridge = await serve(
        Scripted(answer("x")), {**KEYED, "limits": {"refused_per_minute": 1}}, ENVIRON
    )
    assert [(await ask(bridge, WRONG))[0] for _ in range(3)] == [401, 429, 429]
    async with bridge.session.get(bridge.url + "/healthz") as got:
        assert got.status == 200
    async with bridge.session.get(bridge.url + "/") as got:
        assert got.status == 200


async def test_a_page_of_another_origin_is_counted_without_keys_too(serve):
    bridge = await serve(Scripted(answer("x")), {"limits": {"refused_per_minute": 2}})
    evil = {"Origin": "https://evil.example"}
    assert [(await ask(bridge, evil))[0] for _ in range(3)] == [403, 403, 429]
    assert (await ask(bridge, {}))[0] == 200


async def test_unknown_ids_are_404_and_leave_nothing_behind(serve):
    bridge = await serve(Scripted(answer("x")), KEYED, ENVIRON)
    for number in range(200):
        status, _, error = await ask(bridge, GOOD, f"/v1/responses/resp_{number:048x}")
        assert (status, error["type"]) == (404, "invalid_request_error")
    assert bridge.bridge._quotas.names() == 0


async def test_a_bug_is_a_500_that_says_nothing(serve):
    """Any exception of a handler; its text reaches the log and no client."""

    class Broken(Scripted):
        async def count_tokens(self, request: Request) -> int:
            raise RuntimeError(f"a secret of {request.target.name}")

    bridge = await serve(Broken(answer("x")))
    async with bridge.session.post(
        bridge.url + "/v1/responses/input_tokens", json={"model": "m", "input": "x"}
    ) as got:
        assert got.status == 500
        assert got.headers["x-request-id"].startswith("req_")
        assert (await got.json())["error"] == {
            "message": "The server had an error while processing the request.",
            "type": "server_error",
            "param": None,
            "code": "server_error",
        }
