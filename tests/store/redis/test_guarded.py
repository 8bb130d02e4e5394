"""A real Redis with TLS and users: what is wrong on the way to it, and which names are stored."""

import ssl

import pytest
from store.contract import finished
from store.guarded import PASSWORD, PREFIX
from store.opened import opened
from support.private_ca import PrivateCa

from ws_bridge.errors import ConfigError, StoreUnavailable
from ws_bridge.store.redis.connect import UNAVAILABLE, TlsFiles, connect, parse_url, reason_of
from ws_bridge.store.redis.store import RedisStore


async def failure(guarded, tls, url=""):
    """Why a call fails, in the words of the log."""
    client = connect(parse_url(url or guarded.tls_url, PASSWORD, tls))
    try:
        await client.ping()
    except UNAVAILABLE as failed:
        return reason_of(failed)
    finally:
        await client.aclose()
    return ""


async def test_what_is_wrong_with_tls_is_the_reason_in_the_log(guarded, tmp_path):
    """None of them reads like a port that is closed."""
    own, theirs = guarded.tls, PrivateCa(tmp_path)
    assert await failure(guarded, own) == ""
    unknown = TlsFiles("", own.certificate, own.key)
    assert "self-signed certificate in certificate chain" in await failure(guarded, unknown)
    foreign = TlsFiles(str(theirs.certificate), own.certificate, own.key)
    assert (await failure(guarded, foreign)).startswith("certificate: ")
    named = guarded.tls_url.replace("127.0.0.1", "localhost")
    assert "Hostname mismatch" in await failure(guarded, own, named)
    assert await failure(guarded, own, "rediss://127.0.0.1:1") == "ConnectionError"


def test_a_reason_is_found_behind_other_failures():
    broken = RuntimeError("outer")
    broken.__cause__ = ssl.SSLError(1, "x")
    assert reason_of(broken) == "TLS: SSLError"
    assert reason_of(TimeoutError()) == "TimeoutError"


async def test_the_log_of_an_outage_names_it(guarded, caplog):
    store = RedisStore(
        parse_url(
            guarded.tls_url, PASSWORD, TlsFiles("", guarded.tls.certificate, guarded.tls.key)
        ),
        ttl_seconds=60,
        lease_seconds=15,
        now=lambda: 0.0,
    )
    try:
        await store.open()
        with pytest.raises(StoreUnavailable):
            await store.get("resp_x", "alice")
    finally:
        await store.close()
    reasons = [line.getMessage() for line in caplog.records if "reason=" in line.getMessage()]
    assert any(line.startswith("store_unreachable reason=certificate: ") for line in reasons)
    assert PASSWORD not in caplog.text


async def test_every_stored_name_has_the_prefix_and_others_share_nothing(guarded):
    guarded.wipe()
    async with guarded.opened() as store:
        kept, _ = await finished(store)
        names = guarded.cli("KEYS", "*")
        assert len(names) >= 4
        assert {name[: len(PREFIX) + 4] for name in names} == {f"{PREFIX}wb1:"}
        (channel,) = guarded.cli("PUBSUB", "CHANNELS")
        assert channel == f"{PREFIX}wb1:w:{store.worker}"
        async with opened(guarded.url, prefix="team-b:") as other:
            assert await other.get(kept.id, kept.owner) is None
            assert other.shared_key() != store.shared_key()


async def test_names_that_the_user_may_not_have_are_an_error_in_the_log(guarded, caplog):
    address = parse_url(guarded.tls_url, PASSWORD, guarded.tls)
    times = {"ttl_seconds": 60, "lease_seconds": 15, "now": lambda: 0.0}
    store = RedisStore(address, **times, prefix="team-b:")
    try:
        await store.open()
        assert not store.is_available()
    finally:
        await store.close()
    assert "store_refused script=keep reason=this user has no permissions" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("files", "key"),
    [
        (TlsFiles("/none.pem"), "'store.tls_ca': /none.pem"),
        (TlsFiles("", "/none.pem", "/none.key"), "'store.tls_cert' and 'store.tls_key': /none.pem"),
    ],
)
def test_files_that_cannot_be_used_are_one_line(files, key):
    with pytest.raises(ConfigError, match=key):
        parse_url("rediss://127.0.0.1", "", files)


def test_files_for_a_url_without_tls_are_refused():
    with pytest.raises(ConfigError, match="rediss"):
        parse_url("redis://127.0.0.1", "", TlsFiles("/ca.pem"))
