"""The documents for machines, read by the tools of others.

AsyncAPI's own parser reads docs/asyncapi.yaml. A client that is generated from a real server's
`/openapi.json` asks that server.
"""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE

import aiohttp
import pytest
from contract import asyncapi
from contract.code import folded_events, made_events
from support.fleet import Fresh
from support.hang import HANG_SECONDS
from support.snippets import ROOT, surroundings

from ws_bridge.protocol.client_frames import KINDS

SCRIPT = ROOT / "tests/real/node/asyncapi_parser.mjs"
GENERATOR = ROOT / ".venv-generator/bin"
CONFIG = {
    "auth": {"keys_env": ["KEYS"]},
    "models": [{"name": "demo", "model": "demo/demo"}],
}
# What the generator does not know: a file of any kind.
UNKNOWN_TO_GENERATOR = ["WARNING parsing GET /static/{name} within operation."]
PROGRAM = """
import os

from generated import AuthenticatedClient
from generated.api.conversations import create_conversation
from generated.api.models import list_models
from generated.api.responses import create_response, list_input_items, retrieve_response
from generated.models import CreateResponse, ErrorAnswer, NewConversation, ResponseObject

url = os.environ["URL"]
client = AuthenticatedClient(url, token="my-key", raise_on_unexpected_status=True)
print(list_models.sync(client=client).data[0].id)
create = CreateResponse(model="demo", input_="count to 3")
made = create_response.sync(client=client, body=create, idempotency_key="one")
print(made.status.value, made.output[0].content[0].text)
read = retrieve_response.sync_detailed(made.id, client=client)
assert isinstance(read.parsed, ResponseObject)
assert read.parsed == made
assert create_response.sync(client=client, body=create, idempotency_key="one") == made
print(read.parsed.usage.output_tokens > 0, int(read.headers["x-sequence-number"]) > 0)
print(list_input_items.sync(made.id, client=client).data[0].content[0].text)
print(create_conversation.sync(client=client, body=NewConversation()).object_)
refused = retrieve_response.sync("resp_1", client=client)
assert isinstance(refused, ErrorAnswer)
print(refused.error.message)
"""
PRINTED = """\
demo
completed I am a demo program, not an AI. 1 2 3
True True
count to 3
conversation
Response with id 'resp_1' not found.
"""


async def run(*command, folder, **variables) -> str:
    """What a program prints, on both streams; an error if it fails."""
    program = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=PIPE, stderr=PIPE, env=surroundings(variables), cwd=folder
    )
    async with asyncio.timeout(HANG_SECONDS):
        out, err = await program.communicate()
    assert program.returncode == 0, (out + err).decode()
    return (out + err).decode()


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
async def test_asyncapis_own_parser_reads_the_socket_s_document():
    packages = ROOT / ".venv-node"
    script = shutil.copy(SCRIPT, packages)  # node looks for packages in the folders above
    found = json.loads(await run("node", script, asyncapi.FILE, folder=packages))
    events = made_events() | folded_events()
    counts = {"operations": len(KINDS) + 2, "messages": len(KINDS) + len(events)}
    assert found == {"problems": [], **counts}


async def test_a_generated_client_reads_a_response(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    async with Fresh(CONFIG, {"KEYS": "my-key"}) as bridge:
        await bridge.wait_ready()
        async with (
            aiohttp.ClientSession() as session,
            session.get(bridge.url + "/openapi.json") as answer,
        ):
            (tmp_path / "openapi.json").write_bytes(await answer.read())
        said = await run(
            *(GENERATOR / "openapi-python-client", "generate", "--meta", "none"),
            *("--path", "openapi.json", "--output-path", "generated"),
            folder=tmp_path,
        )
        warnings = [line for line in said.splitlines() if line.startswith(("WARN", "ERROR"))]
        assert warnings == UNKNOWN_TO_GENERATOR
        printed = await run(GENERATOR / "python", program, folder=tmp_path, URL=bridge.url)
    assert printed == PRINTED
