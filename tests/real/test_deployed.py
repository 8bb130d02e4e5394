"""The configurations of Compose and Kubernetes are served, with addresses of this machine."""

import asyncio
import re
import sys
from pathlib import Path

import aiohttp
import pytest
from support.hang import HANG_SECONDS
from support.redis_servers import Node, Process, until, valkey_binary
from support.tcp_proxy import ReservedPort

DEPLOY = Path(__file__).parents[2] / "deploy"
STEP_SECONDS = 0.1
COUNTED = re.compile(r'^ws_bridge_responses_total\{.*key="client-keys".*\} 1\.0$', re.MULTILINE)
READY = '"word": "ready"'
SECRETS = {"client-keys": "a-client", "store-password": "of-the-store", "metrics-key": "a-scraper"}


def written(path, folder, node, ports):
    """The file with this machine's addresses, and secrets of the test."""
    text = path.read_text(encoding="utf-8")
    for name, secret in SECRETS.items():
        (folder / name).write_text(secret + "\n")
    changes = {
        "/run/secrets/": f"{folder}/",
        "/tmp/control": str(folder / "control"),  # noqa: S108 - replaced
        "redis://valkey:6379": f"redis://127.0.0.1:{node.port}",
        "0.0.0.0:8787": f"127.0.0.1:{ports[0].number}",
        "0.0.0.0:9464": f"127.0.0.1:{ports[1].number}",
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    copy = folder / "config.toml"
    copy.write_text(text)
    return copy


@pytest.mark.parametrize("place", [".", "k8s"], ids=["compose", "kubernetes"])
async def test_two_workers_answer_a_client_with_a_key_and_a_scraper_with_another(place, tmp_path):
    ports = [ReservedPort(), ReservedPort()]
    with Node(valkey_binary(), password=SECRETS["store-password"]) as node:
        path = written(DEPLOY / place / "config.toml", tmp_path, node, ports)
        log = tmp_path / "log"
        command = [sys.executable, "-m", "ws_bridge", "serve", "--config", str(path)]
        server = Process(command, log)
        try:
            until(lambda: log.read_text().count(READY) == 2, "both are ready")
            async with aiohttp.ClientSession() as session:
                await check(session, *(f"http://127.0.0.1:{port.number}" for port in ports))
            assert server.terminate(HANG_SECONDS) == 0
        finally:
            sys.stdout.write(log.read_text())
            server.end()
            for port in ports:
                port.release()


async def check(session, clients, numbers):
    """One answer of the demo model, counted; nobody without a key."""
    async with session.post(f"{clients}/v1/responses", json={}) as refused:
        assert refused.status == 401
    head = {"Authorization": f"Bearer {SECRETS['client-keys']}"}
    create = {"model": "demo", "input": "hi"}
    async with session.post(f"{clients}/v1/responses", json=create, headers=head) as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "completed")
    async with session.get(f"{numbers}/metrics") as refused:
        assert refused.status == 401
    head = {"Authorization": f"Bearer {SECRETS['metrics-key']}"}
    async with asyncio.timeout(HANG_SECONDS):  # it is counted when the job has ended
        while not COUNTED.search(await page(session, numbers, head)):  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(STEP_SECONDS)


async def page(session, numbers, head):
    """The numbers of all processes."""
    async with session.get(f"{numbers}/metrics", headers=head) as answer:
        return await answer.text()
