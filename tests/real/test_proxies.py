"""The proxies of `deploy/` in front of two servers, over all that an operator does to them.

Each is the real program with the file of `deploy/`. A third of the clients hold sockets, a third
read event streams, a third poll. The servers' store is Debian's Redis with TLS, certificates of
clients, and a user with the rights of docs/operations.md.
"""

import sys

import pytest
from rolling.rounds import table, two_servers_behind
from store.guarded import PASSWORD, PREFIX, Guarded
from support.proxies import Caddy, HaProxy, Nginx, find
from support.redis_servers import redis_binary

CLIENTS = 50

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("proxies", [Nginx, HaProxy, Caddy], ids=lambda one: one.__name__.lower())
async def test_fifty_clients_lose_nothing_by_a_reload_and_a_rolling_restart(proxies, tmp_path):
    """A reload cuts nobody off, and a restart ends no turn.

    Of the turns of a worker that is killed some fail; all chains go on, whole.
    """
    binary = redis_binary()
    if binary is None or find(proxies.program) == proxies.program:
        pytest.skip(f"{proxies.program} or redis-server is not installed")
    with Guarded(binary, tmp_path) as node:
        files = {
            "tls_ca": node.tls.authorities,
            "tls_cert": node.tls.certificate,
            "tls_key": node.tls.key,
        }
        store = {"url": node.tls_url, "password_env": "STORE_PASSWORD", "prefix": PREFIX, **files}
        environ = {"STORE_PASSWORD": PASSWORD}
        figures, faults = await two_servers_behind(proxies, store, environ, CLIENTS)
    sys.stdout.write(table(proxies.program, figures))
    assert faults == []
    assert figures["reconnects"] > 0
