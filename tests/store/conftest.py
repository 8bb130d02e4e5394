"""Servers for the stores' tests: started once, shared by all, ended by pid.

Nothing is flushed between tests: ids are random, and no test looks at another's.
"""

import pytest
from valkeys import Cluster, Node, redis_binary, valkey_binary

pytest.register_assert_rewrite("store.contract")


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
def cluster():
    with Cluster(valkey_binary()) as nodes:
        yield nodes
