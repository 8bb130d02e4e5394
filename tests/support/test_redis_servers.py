"""The store servers of the tests do what the tests believe of them."""

import concurrent.futures
import os
import socket

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from support.hang import HANG_SECONDS
from support.redis_servers import SLOTS, Cluster, Node, Sentinel, redis_binary, valkey_binary

ODD_WORD = "a:b/c@d"
ONCE = Retry(NoBackoff(), 0)
BINARIES = {"valkey": valkey_binary, "redis": redis_binary}


@pytest.fixture(scope="module", params=BINARIES)
def binary(request):
    path = BINARIES[request.param]()
    if path is None:
        pytest.skip("no redis-server on PATH")
    return path


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_node_takes_keys_and_is_told_by_its_url(binary):
    with Node(binary, password=ODD_WORD) as node, redis.from_url(node.url) as client:
        client.set("key", b"\xff\x00")
        assert node.cli("GET", "key").encode("utf-8", "surrogateescape") == b"\xff\x00"
        node.wipe()
        assert node.cli("DBSIZE") == 0


def test_a_node_wants_its_password(binary):
    with (
        Node(binary, password=ODD_WORD) as node,
        redis.Redis(port=node.port, retry=ONCE) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_more_options_reach_the_server(binary):
    with Node(binary, options=("--maxmemory", "8mb")) as node:
        assert node.cli("CONFIG GET", "maxmemory") == {"maxmemory": str(8 * 2**20)}
        assert node.cli("DEBUG", "SLEEP", "0") == "OK"


def test_a_frozen_node_executes_after_its_thaw_what_was_sent_to_it(binary):
    with Node(binary) as node, socket.create_connection(("127.0.0.1", node.port)) as line:
        line.settimeout(0.2)
        node.freeze()
        node.freeze()  # twice is once
        line.sendall(b"INCR ghost\r\n")
        with pytest.raises(TimeoutError):
            line.recv(100)
        node.thaw()
        line.settimeout(HANG_SECONDS)
        assert line.recv(100) == b":1\r\n"


@pytest.mark.parametrize("end", [Node.kill, Node.shutdown])
def test_what_was_acknowledged_survives_with_an_append_only_file(binary, end):
    with Node(binary, aof=True) as node:
        port, pid = node.port, node.pid
        for number in range(100):
            node.cli("RPUSH", "list", number)
        end(node)
        assert not is_alive(pid)
        with pytest.raises(redis.ConnectionError):
            node.cli("PING")
        node.restart()
        assert node.port == port
        assert node.pid != pid
        assert node.cli("LLEN", "list") == 100


def test_without_the_file_a_restarted_node_is_empty(binary):
    with Node(binary) as node:
        node.cli("SET", "key", "value")
        node.restart()
        assert node.cli("GET", "key") is None


def test_nobody_else_gets_the_port_of_a_dead_node(binary):
    with Node(binary) as node:
        node.kill()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", node.port))
        node.restart()


def test_nothing_is_left_of_a_node(binary):
    with Node(binary, aof=True) as node:
        node.freeze()
    assert not is_alive(node.pid)
    assert not node.folder.exists()


def test_a_node_that_cannot_start_says_why(binary):
    with (
        pytest.raises(AssertionError, match="no-such-option"),
        Node(binary, options=("--no-such-option", "1")),
    ):
        pass


@pytest.fixture(scope="module")
def cluster(binary):
    with Cluster(binary, aof=True) as running:
        yield running


def client_of(cluster):
    seeds = [ClusterNode("127.0.0.1", node.port) for node in cluster.nodes]
    return RedisCluster(startup_nodes=seeds, decode_responses=True)


def test_a_cluster_takes_keys_on_all_three_nodes_also_while_slots_move(cluster):
    ports = [node.port for node in cluster.nodes]
    assert cluster.url == "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
    with client_of(cluster) as client, concurrent.futures.ThreadPoolExecutor(1) as beside:
        moved = min((f"key{number}" for number in range(1000)), key=client.keyslot)
        keys = [moved, *(f"other{number}" for number in range(99))]
        for key in keys:
            client.set(key, key)
        sizes = [node.cli("DBSIZE") for node in cluster.nodes]
        assert min(sizes) > 0
        assert sum(sizes) == len(keys)

        count = client.keyslot(moved) + 1  # a few: it is the first of many
        moving = beside.submit(cluster.move_slots, count)
        while not moving.done():
            assert [client.get(key) for key in keys] == keys
        moving.result()
        assert [client.get(key) for key in keys] == keys
        assert cluster.nodes[1].cli("GET", moved) == moved


def test_a_cluster_node_comes_back_to_its_cluster(cluster):
    node = cluster.nodes[2]
    with client_of(cluster) as client:
        key = next(f"own{n}" for n in range(100) if client.keyslot(f"own{n}") > SLOTS * 2 // 3)
        client.set(key, "value")
    node.kill()
    node.restart()
    cluster.settle()
    assert node.cli("GET", key) == "value"


def test_a_sentinel_names_the_replica_when_the_master_is_gone():
    with Sentinel(valkey_binary()) as group:
        with redis.Sentinel([("127.0.0.1", group.sentinel.port)]) as asked:
            assert asked.discover_master("mymaster") == ("127.0.0.1", group.master.port)
        assert group.url == f"redis+sentinel://127.0.0.1:{group.sentinel.port}/mymaster"
        group.master.cli("SET", "key", "value")
        assert group.master.cli("WAIT", 1, 10_000) == 1
        group.master.kill()
        group.until_promoted()
        assert group.replica.cli("GET", "key") == "value"
