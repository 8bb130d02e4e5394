"""The command line: play every row, and write what its provider was asked, or what was stored."""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from server.conftest import started
from store.dump.kept import take_out
from support.redis_servers import Node, valkey_binary
from upstreams.raw import RawProvider

from histories.dumps import save
from histories.play import (
    ENVIRON,
    SURROUNDINGS,
    Stage,
    account,
    config,
    elsewhere,
    ready,
    refer_to,
)
from histories.table import FOLDER, PROVIDERS, kinds_in, rows, written

# What every release has stored: of these a dump has no rows.
PLAIN = {"function_call", "custom_tool_call", "citation", "refusal"}


@asynccontextmanager
async def playing(node: Node) -> AsyncIterator[tuple[Stage, Any, Any]]:
    """The stage, a server on the store, and a socket to it."""
    provider = RawProvider()
    server = await asyncio.start_server(provider.accept, "127.0.0.1", 0)
    os.environ |= SURROUNDINGS
    os.environ["http_proxy"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    one = await started(None, config(rows(), node.url), ENVIRON)
    await ready(one)
    yield Stage(provider), one, await one.connect()
    await one.stop()
    await one.session.close()
    server.close()


async def write_expected(stage: Stage, one: Any, client: Any) -> None:
    """What each row's provider is asked next."""
    FOLDER.mkdir(exist_ok=True)
    for family in PROVIDERS:
        bodies = {}
        for row in (row for row in rows() if row.wire.family == family):
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


async def write_dump(release: str, node: Node, stage: Stage, one: Any, client: Any) -> None:
    """What the store holds of the rows with side data, thoughts and hosted tools.

    It is each one's first turn, and for the last one of a family a turn that refers to its items.
    """
    kept = {}
    told = [row for row in rows() if kinds_in(row.wire) - PLAIN]
    last = {row.wire.family: row for row in told}
    for row in told:
        first = await stage.first(client, row)
        kept[str(row)] = {"first": first}
        if row is last[row.wire.family]:
            kept[str(row)]["referring"] = (await refer_to(stage, one, row, first))["id"]
    save(release, {"release": release, "rows": kept, "keys": take_out(node)})


async def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser(prog="tests.histories", description=__doc__)
    parser.add_argument("--dump", metavar="RELEASE", help="the commit that is dumped")
    release = parser.parse_args().dump
    with Node(valkey_binary()) as node:
        async with playing(node) as played:
            if release:
                await write_dump(release, node, *played)
            else:
                await write_expected(*played)


if __name__ == "__main__":
    asyncio.run(main())
