"""Real proxies in front of servers, over all that an operator does to them."""

import pytest
from rolling.rounds import two_servers_behind
from support.proxies import HaProxy, Nginx, find
from support.redis_servers import Node, valkey_binary

CHAINS = 12


@pytest.mark.parametrize("proxies", [Nginx, HaProxy], ids=lambda one: one.__name__.lower())
async def test_a_reload_a_killed_worker_and_a_restart_of_each_server_break_no_chain(proxies):
    """A reload cuts nobody off. Of the killed worker's turns some fail; all chains go on, whole."""
    if find(proxies.program) == proxies.program:
        pytest.skip(f"{proxies.package} is not installed")
    with Node(valkey_binary()) as node:
        figures, faults = await two_servers_behind(proxies, node, CHAINS)
    assert faults == []
    assert figures["ends"].keys() <= {"completed", "failed"}
