"""Servers for the stores' tests: started once, shared by all, ended by pid.

Nothing is flushed between tests: ids are random, and no test looks at another's.
"""

import pytest
from support.long_limits import LONG
from support.redis_servers import Cluster, Node, redis_binary, valkey_binary

from ws_bridge.store.redis import connect, subscriptions

pytest.register_assert_rewrite("store.contract", "store.ledger_contract")


@pytest.fixture(autouse=True)
def answers_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is slow is not away; where one is frozen, the test bounds the wait."""
    monkeypatch.setattr(connect, "CALL_SECONDS", LONG)
    monkeypatch.setattr(subscriptions, "ANSWER_SECONDS", LONG)


@pytest.fixture(scope="session")
def valkey():
    with Node(valkey_binary()) as node:
        yield node


@pytest.fixture(scope="session")
def debian_redis():
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH")
    with Node(binary) as node:
        yield node


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH")
    from store.guarded import Guarded  # noqa: PLC0415 - after the rewriting of asserts

    with Guarded(binary, tmp_path_factory.mktemp("ca")) as node:
        yield node


@pytest.fixture(scope="session")
def cluster():
    with Cluster(valkey_binary()) as nodes:
        yield nodes
