"""The command line: play every row and write what its provider was asked."""

import asyncio
import os

from server.conftest import started
from support.redis_servers import Node, valkey_binary
from upstreams.raw import RawProvider

from histories.play import ENVIRON, SURROUNDINGS, Stage, account, config, elsewhere, ready
from histories.table import FOLDER, PROVIDERS, rows, written


async def play() -> None:
    provider = RawProvider()
    server = await asyncio.start_server(provider.accept, "127.0.0.1", 0)
    os.environ |= SURROUNDINGS
    os.environ["http_proxy"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    FOLDER.mkdir(exist_ok=True)
    stage = Stage(provider)
    with Node(valkey_binary()) as node:
        for family in PROVIDERS:
            own = [row for row in rows() if row.wire.family == family]
            one = await started(None, config(own, node.url), ENVIRON)
            await ready(one)
            client = await one.connect()
            bodies = {}
            for row in own:
                first = await stage.first(client, row)
                bodies[str(row)] = {
                    "chained": await stage.over_http(one, row, first),
                    "resent": await stage.resent(one, row, first),
                }
                for way, other in (("account", account(row)), ("elsewhere", elsewhere(row))):
                    bodies[str(row)] |= {
                        way: await stage.over_http(one, row, first, **other),
                        f"{way}-resent": await stage.resent(one, row, first, **other),
                    }
            (FOLDER / f"{family}.txt").write_text(written(bodies), encoding="utf-8")
            await one.stop()
            await one.session.close()
    server.close()


if __name__ == "__main__":
    asyncio.run(play())
