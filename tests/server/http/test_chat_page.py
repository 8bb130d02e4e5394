"""The page's files as a browser asks for them."""

import pytest
from support.scripted_upstream import Scripted, answer

from ws_bridge.server.http.chat_page import HEADERS, static_files


@pytest.fixture
async def bridge(serve):
    return await serve(Scripted(answer("x")))


KINDS = {
    "purify.es.mjs": "text/javascript",
    "index.html": "text/html",
    "chat.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


async def test_every_file_is_sent_as_it_is(bridge):
    files = [path for path in static_files().rglob("*") if path.is_file()]
    assert any(file.parent.name == "vendor" for file in files)
    for file in files:
        name = file.relative_to(static_files()).as_posix()
        async with bridge.session.get(f"{bridge.url}/static/{name}") as got:
            assert (got.status, await got.read()) == (200, file.read_bytes())
            assert HEADERS.items() <= got.headers.items()
            assert got.content_type == KINDS.get(file.name, got.content_type)


async def test_the_root_is_the_index(bridge):
    async with bridge.session.get(bridge.url + "/") as got:
        assert await got.read() == (static_files() / "index.html").read_bytes()
        assert got.headers["Content-Type"] == "text/html; charset=utf-8"


async def test_what_the_page_must_know_of_the_server_needs_no_key(serve):
    """And holds nothing else."""
    config = {"auth": {"keys_env": ["KEYS"]}, "server": {"max_message_mib": 8}}
    bridge = await serve(Scripted(answer("x")), config, {"KEYS": "secret"})
    async with bridge.session.get(bridge.url + "/static/server.json") as got:
        assert await got.json() == {"browser_subprotocol": False, "max_message_bytes": 8 * 2**20}


async def test_a_head_has_no_body(bridge):
    async with bridge.session.head(bridge.url + "/static/chat.css") as got:
        assert (got.status, await got.read()) == (200, b"")


async def test_what_the_client_has_is_not_sent_again(bridge):
    async with bridge.session.get(bridge.url + "/static/chat.js") as got:
        tag = got.headers["ETag"]
    for given, status in ((tag, 304), ('"another"', 200)):
        headers = {"If-None-Match": given}
        async with bridge.session.get(bridge.url + "/static/chat.js", headers=headers) as got:
            assert (got.status, got.headers["ETag"]) == (status, tag)


@pytest.mark.parametrize("name", ["", "nothing.js", "..%2fconfig.toml", "chat.js%00", "a/b"])
async def test_nothing_else_is_there(bridge, name):
    async with bridge.session.get(f"{bridge.url}/static/{name}") as got:
        assert got.status == 404
