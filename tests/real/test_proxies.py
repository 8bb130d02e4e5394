"""Real proxies in front of servers, over all that an operator does to them.

Their store is Debian's Redis with TLS, certificates of clients, and a user with the rights of
docs/operations.md.
"""

import pytest
from rolling.rounds import two_servers_behind
from store.guarded import PASSWORD, PREFIX, Guarded
from support.proxies import HaProxy, Nginx, find
from support.redis_servers import redis_binary

CHAINS = 12


@pytest.mark.parametrize("proxies", [Nginx, HaProxy], ids=lambda one: one.__name__.lower())
async def test_a_reload_a_killed_worker_and_a_restart_of_each_server_break_no_chain(
    proxies, tmp_path
):
    """A reload cuts nobody off. Of the killed worker's turns some fail; all chains go on, whole."""
    binary = redis_binary()
    if binary is None or find(proxies.program) == proxies.program:
        pytest.skip(f"{proxies.package} or redis-server is not installed")
    with Guarded(binary, tmp_path) as node:
        files = {
            "tls_ca": node.tls.authorities,
            "tls_cert": node.tls.certificate,
            "tls_key": node.tls.key,
        }
        store = {"url": node.tls_url, "password_env": "STORE_PASSWORD", "prefix": PREFIX, **files}
        environ = {"STORE_PASSWORD": PASSWORD}
        figures, faults = await two_servers_behind(proxies, store, environ, CHAINS)
    assert faults == []
    assert figures["ends"].keys() <= {"completed", "failed"}
