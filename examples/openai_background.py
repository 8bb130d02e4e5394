"""A response in the background, polled over HTTP. pip install openai."""

import os
import time

from openai import OpenAI

MODEL = os.environ.get("MODEL", "demo")
client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8787/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
)

response = client.responses.create(model=MODEL, input="count to 20", background=True)
print(response.status)
while response.status in ("queued", "in_progress"):
    time.sleep(1)
    response = client.responses.retrieve(response.id)
if response.status != "completed":
    raise RuntimeError(response.error or response.status)
print(response.status)
print(response.output_text)
