"""Several answers at once on one socket, each on a lane. pip install "openai[realtime]"."""

import asyncio
import os

from openai import AsyncOpenAI
from openai.lib.responses_websocket import AsyncResponsesWebSocketSession, ResponsesWebSocketLimits

MODEL = os.environ.get("MODEL", "demo")
LIMITS = ResponsesWebSocketLimits(  # of what the SDK keeps until it is read
    max_lanes=16,
    max_events_per_lane=4096,
    max_events=16384,
    max_bytes_per_lane=16 * 1024 * 1024,
    max_bytes=64 * 1024 * 1024,
)
client = AsyncOpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8787/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
)


async def ask(lane, question):
    """The answer's text."""
    await lane.send({"type": "response.create", "model": MODEL, "input": question})
    response = await lane.get_final_response()
    if response.status != "completed":
        raise RuntimeError(response.error or response.incomplete_details)
    return response.output_text


async def main():
    async with (
        client.responses.connect() as connection,
        AsyncResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):
        questions = {"short": "count to 3", "middle": "count to 5", "long": "count to 8"}
        answers = await asyncio.gather(
            *(ask(session.lane(name), question) for name, question in questions.items())
        )
        for name, answer in zip(questions, answers, strict=True):
            print(f"{name}: {answer}")


asyncio.run(main())
