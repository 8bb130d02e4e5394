"""Bodies, queries and pages, as requests bring them."""

import itertools

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request

from ws_bridge.errors import BridgeError, InvalidRequest
from ws_bridge.server.http.json import flag, integer, page, read_json
from ws_bridge.server.json_responses import json_response


def asked(**query):
    """A request with this query, as aiohttp reads it."""
    query_string = "&".join(f"{name}={value}" for name, value in query.items())
    return make_mocked_request("GET", f"/?{query_string}")


def items(*ids):
    return [{"id": item_id} for item_id in ids]


def ids(body):
    return [item["id"] for item in body["data"]]


# Pages


def test_a_page_is_the_newest_twenty_unless_it_is_asked_otherwise():
    body = page(asked(), items(*range(25)))
    assert ids(body) == list(range(24, 4, -1))
    assert body.keys() == {"object", "data", "first_id", "last_id", "has_more"}
    assert (body["object"], body["first_id"], body["last_id"]) == ("list", 24, 5)
    assert body["has_more"] is True
    assert page(asked(limit="", order="", after=""), items(*range(25))) == body


def test_an_empty_list_is_one_empty_page():
    body = page(asked(), [])
    assert body == {"object": "list", "data": [], "first_id": None, "last_id": None} | {
        "has_more": False
    }


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_the_pages_are_the_list(order, limit):
    whole = items("a", "b", "c", "d", "e", "f", "g")
    seen, after = [], ""
    while True:
        body = page(asked(order=order, limit=limit, after=after), whole)
        seen += ids(body)
        after = body["last_id"]
        if not body["has_more"]:
            break
    assert seen == list("abcdefg" if order == "asc" else "gfedcba")


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_pages_come_to_an_end_whatever_the_ids(order, limit):
    """Two of one id would lead back to the first of them, over and over."""
    for names in itertools.product("ab", repeat=4):
        after, turns = "", 0
        while True:
            body = page(asked(order=order, limit=limit, after=after), items(*names))
            after, turns = body["last_id"], turns + 1
            if not body["has_more"]:
                break
            assert turns <= len(names)


@pytest.mark.parametrize(
    ("param", "value"),
    [
        *(("limit", bad) for bad in ("0", "101", "-1", "x", "1.5", "1e3", "٣", "9" * 19)),
        *(("order", bad) for bad in ("up", "ASC")),
        ("after", "nothing"),
    ],
)
def test_a_bad_query_is_refused_by_name(param, value):
    with pytest.raises(InvalidRequest) as refused:
        page(asked(**{param: value}), items("a"))
    assert (refused.value.status, refused.value.param) == (400, param)


# Queries


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("True", True), ("1", True), ("false", False), ("0", False), ("", False)],
)
def test_a_flag_has_several_spellings(value, expected):
    assert flag(asked(stream=value), "stream") is expected


def test_what_is_not_there_is_off_or_its_default():
    assert flag(asked(), "stream") is False
    assert integer(asked(), "limit", default=7) == 7
    assert integer(asked(limit=""), "limit", default=7) == 7


@pytest.mark.parametrize("value", ["yes", "2", "perhaps"])
def test_another_word_is_no_flag(value):
    with pytest.raises(InvalidRequest) as refused:
        flag(asked(stream=value), "stream")
    assert refused.value.param == "stream"


def test_an_integer_may_be_negative_and_large():
    assert integer(asked(after=-5), "after", default=0) == -5
    assert integer(asked(after=2**53), "after", default=0) == 2**53


# Bodies


@pytest.fixture
async def echo():
    """A function that sends a body to a real server and has what it read, or why not."""

    async def answer(request):
        try:
            return json_response(await read_json(request))
        except BridgeError as error:
            return json_response(error.body())

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with ClientSession() as session:

        async def send(data):
            async with session.post(url, data=data) as got:
                assert got.headers["Content-Type"] == "application/json"
                return await got.json()

        yield send
    await runner.cleanup()


async def test_an_object_is_read_whatever_it_is_called(echo):
    assert await echo(b' {"a": [1, "\xc3\xa9"]} ') == {"a": [1, "é"]}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff", b'{"a":NaN}'])
async def test_any_other_spelling_is_an_error_of_ours(echo, data):
    error = (await echo(data))["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("The request body ")
