"""Runs side by side on one WebSocket. pip install "pydantic-ai-slim[openai-realtime]"."""

import asyncio
import os

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIResponsesModel(
    os.environ.get("MODEL", "demo"),
    provider=OpenAIProvider(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8787/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "any"),
    ),
    profile=OpenAIModelProfile(openai_responses_supports_websocket_stream_id=True),
    settings=OpenAIResponsesModelSettings(openai_transport="websocket"),
)
guide, plain = Agent(model), Agent(model)


@guide.tool_plain
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


async def main():
    async with model:  # one socket, as long as this block
        first, weather = await asyncio.gather(
            plain.run("My name is Ada."), guide.run("How is the weather in Paris?")
        )
        print(weather.output)
        async with plain.run_stream(
            "What is my name?", message_history=first.all_messages()
        ) as second:
            async for text in second.stream_text(delta=True):
                print(text, end="")
        print()


asyncio.run(main())
