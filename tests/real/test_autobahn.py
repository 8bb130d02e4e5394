"""Autobahn's quick cases on the bridge's socket; the first run builds its client."""

import asyncio

from autobahn.runs import build, run

QUICK = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,10.*"  # the 9s move 16 MiB about, in Python
NOT_STRICT = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}  # aiohttp reads a message before it decodes it


async def test_the_socket_keeps_the_protocol():
    await asyncio.to_thread(build)
    results = await run(QUICK)
    assert len(results) > 200
    assert [one for one in results if one.verdict == "FAILED"] == []
    assert {one.id for one in results if one.verdict == "NON-STRICT"} <= NOT_STRICT
