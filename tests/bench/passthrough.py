"""The limit: WebSocket in, event stream upstream, each event's JSON sent on as it is.

No check, no id, no history, no log, no state. Whatever a bridge costs above this is its own.
Chunks of another dialect go on untranslated: here they only show what moving them costs.
"""

import sys

import orjson
from aiohttp import ClientSession, TCPConnector, web

from tests.bench.processes import serve
from tests.bench.turns import DIALECTS

UPSTREAM = web.AppKey("upstream", ClientSession)


def body_of(create: dict[str, str]) -> tuple[str, dict[str, object]]:
    """Path and body of the upstream's request."""
    asked = create["input"]
    if create["model"] == "native":
        return "/v1/responses", {"model": "bench-native", "input": asked, "stream": True}
    path, _ = DIALECTS[create["model"]]
    said = [{"role": "user", "content": asked}]
    return path, {"model": "bench", "messages": said, "stream": True}


async def websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for message in socket:
        path, body = body_of(orjson.loads(message.data))
        async with request.app[UPSTREAM].post(path, json=body) as answer:
            rest = b""
            async for data in answer.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    await socket.send_str(event[event.index(b"data: ") + 6 :].decode())
    return socket


async def app(upstream: str) -> web.Application:
    made = web.Application()
    made[UPSTREAM] = ClientSession(upstream, connector=TCPConnector(limit=0))
    made.router.add_get("/v1/responses", websocket)
    return made


if __name__ == "__main__":
    serve(app(sys.argv[1]))
