"""The rest of an answer whose socket was lost. pip install "openai[realtime]"."""

import os

from openai import OpenAI

MODEL = os.environ.get("MODEL", "demo")
client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8787/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
)
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")

count = 0
with client.responses.connect() as connection:
    connection.response.create(model=MODEL, input="count to 20")
    for event in connection:
        if event.type == "response.created":
            response_id = event.response.id
        elif event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
            count += 1
        if count == 12 or event.type in ENDS:
            break  # the socket is closed here, in the middle of the answer

if event.type not in ENDS:
    last = event.sequence_number
    for event in client.responses.retrieve(response_id, stream=True, starting_after=last):
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
if event.type != "response.completed":
    raise RuntimeError(event)
print()
print(event.type)
