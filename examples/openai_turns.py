"""Two turns on one WebSocket. pip install "openai[realtime]"."""

import os

from openai import OpenAI

MODEL = os.environ.get("MODEL", "demo")
client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8787/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
)


def turn(connection, **create):
    """Print the answer, and return the response."""
    connection.response.create(model=MODEL, **create)
    for event in connection:
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
        elif event.type == "response.completed":
            print()
            return event.response
        elif event.type in ("response.failed", "response.incomplete", "error"):
            raise RuntimeError(event)
    raise ConnectionError("the socket was closed before the answer's end")


with client.responses.connect() as connection:
    first = turn(connection, input="My name is Ada.")
    turn(connection, input="What is my name?", previous_response_id=first.id)
