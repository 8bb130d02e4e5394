"""`/healthz` and `/readyz`."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ws_bridge.server.http.health import HealthRoutes, Readiness


@pytest.mark.parametrize(
    ("readiness", "status", "body"),
    [
        (Readiness(True, []), 200, {"status": "ready"}),
        (Readiness(True, ["store"]), 200, {"status": "ready", "missing": ["store"]}),
        (Readiness(False, []), 503, {"status": "not ready"}),
        (Readiness(False, ["upstream"]), 503, {"status": "not ready", "missing": ["upstream"]}),
    ],
)
async def test_a_server_that_lives_says_whether_it_is_ready(readiness, status, body):
    app = web.Application()
    app.add_routes(HealthRoutes(lambda: readiness).routes())
    async with TestClient(TestServer(app)) as client:
        for path, expected in (("/readyz", (status, body)), ("/healthz", (200, {"status": "ok"}))):
            async with client.get(path) as answer:
                assert (answer.status, await answer.json()) == expected
