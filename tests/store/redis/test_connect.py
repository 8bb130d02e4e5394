"""`[store] url` is taken apart, or refused in one line that never has the password."""

import pytest
from redis.asyncio import Redis, RedisCluster

from ws_bridge.errors import ConfigError
from ws_bridge.store.redis.connect import connect, parse_url

SECRET = "s3cr3t"  # noqa: S105 - a canary


@pytest.mark.parametrize(
    ("url", "kind", "addresses", "service", "db"),
    [
        ("redis://host", "", [("host", 6379)], "", 0),
        ("redis://host:7000/", "", [("host", 7000)], "", 0),
        ("redis://10.0.0.1:7000/3", "", [("10.0.0.1", 7000)], "", 3),
        ("rediss://host", "", [("host", 6379)], "", 0),
        ("redis://[::1]", "", [("::1", 6379)], "", 0),
        ("redis://[::1]:7000/2", "", [("::1", 7000)], "", 2),
        ("redis+sentinel://a,b:7/main", "sentinel", [("a", 26379), ("b", 7)], "main", 0),
        ("redis+sentinel://a/my%20main/4", "sentinel", [("a", 26379)], "my main", 4),
        ("rediss+sentinel://a/main", "sentinel", [("a", 26379)], "main", 0),
        ("redis+cluster://a:1,b:2,c", "cluster", [("a", 1), ("b", 2), ("c", 6379)], "", 0),
        ("redis+cluster://[::1]:1,[::2]:2", "cluster", [("::1", 1), ("::2", 2)], "", 0),
    ],
)
def test_a_url_is_taken_apart(url, kind, addresses, service, db):
    place = parse_url(url)
    assert (place.kind, list(place.addresses)) == (kind, addresses)
    assert (place.service, place.db) == (service, db)
    assert place.options.get("ssl", False) is url.startswith("rediss")


@pytest.mark.parametrize(
    ("url", "given", "username", "password"),
    [
        ("redis://host", "", None, None),
        ("redis://:in%20it%2F@host", "", None, "in it/"),
        ("redis://me:in-it@host", "", "me", "in-it"),
        ("redis://me@host", "given", "me", "given"),
        ("redis://me:in-it@host", "given", "me", "given"),
        ("redis://a%40b:x%3Ay@host", "", "a@b", "x:y"),
        ("redis+cluster://me:in-it@a,b", "", "me", "in-it"),
    ],
)
def test_who_and_with_what_password(url, given, username, password):
    options = parse_url(url, given).options
    assert (options["username"], options["password"]) == (username, password)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis",
        "redis:",
        "redis://",
        "redis:///0",
        "http://host",
        "redis+cloud://host",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@host:port",
        f"redis://:{SECRET}@host:0",
        f"redis://:{SECRET}@host:65536",
        f"redis://:{SECRET}@host:-1",
        f"redis://:{SECRET}@host:99999999",
        f"redis://:{SECRET}@one,two",
        f"redis://:{SECRET}@host/x",
        f"redis://:{SECRET}@host/-1",
        f"redis://:{SECRET}@host/1/2",
        f"redis://:{SECRET}@host?db=1",
        f"redis://:{SECRET}@host/0#x",
        f"redis://:{SECRET}/{SECRET}@host",
        f"redis://:{SECRET}#{SECRET}@host",
        f"redis://:{SECRET}?{SECRET}@host",
        f"redis://:{SECRET}@[::1",
        f"redis://:{SECRET}@::1",
        f"redis://:{SECRET}@[nonsense]:1",
        f"redis://:[{SECRET}@host",
        f"redis+sentinel://:{SECRET}@host",
        f"redis+sentinel://:{SECRET}@host/",
        f"redis+sentinel://:{SECRET}@host/main/x",
        f"redis+sentinel://:{SECRET}@host/main/0/1",
        f"redis+cluster://:{SECRET}@",
        f"redis+cluster://:{SECRET}@a,,b",
        f"redis+cluster://:{SECRET}@a/1",
    ],
)
def test_what_can_never_work_is_refused_by_the_name_of_its_key(url):
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    said = str(caught.value)
    assert "store.url" in said
    assert "\n" not in said
    assert SECRET not in said
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value.__context__)


def test_a_place_does_not_show_its_password():
    assert SECRET not in repr(parse_url(f"redis://me:{SECRET}@host"))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://me:x@host/3", Redis),
        ("rediss://host", Redis),
        ("redis+sentinel://me:x@a,b/main/3", Redis),
        ("rediss+sentinel://a/main", Redis),
        ("redis+cluster://me:x@a,b", RedisCluster),
        ("rediss+cluster://a,b", RedisCluster),
    ],
)
async def test_a_client_is_made_without_a_word_to_the_server(url, kind):
    client = connect(parse_url(url))
    assert isinstance(client, kind)
    await client.aclose()
