"""A tool, called until the model has its answer. pip install "openai[realtime]"."""

import json
import os

from openai import OpenAI

MODEL = os.environ.get("MODEL", "demo")
TOOLS = [
    {
        "type": "function",
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    }
]
client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8787/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
)


def get_weather(city):
    """What the model calls."""
    return f"rain in {city}"


def turn(connection, **create):
    """The response, when it is whole."""
    connection.response.create(model=MODEL, tools=TOOLS, **create)
    for event in connection:
        if event.type == "response.completed":
            return event.response
        if event.type in ("response.failed", "response.incomplete", "error"):
            raise RuntimeError(event)
    raise ConnectionError("the socket was closed before the answer's end")


with client.responses.connect() as connection:
    response = turn(connection, input="How is the weather in Paris?")
    while calls := [item for item in response.output if item.type == "function_call"]:
        outputs = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": get_weather(**json.loads(call.arguments)),
            }
            for call in calls
        ]
        response = turn(connection, input=outputs, previous_response_id=response.id)
print(response.output_text)
