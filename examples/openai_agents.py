"""The OpenAI Agents SDK on one WebSocket: a tool, and two turns. pip install openai-agents."""

import asyncio
import os

from agents import Agent, function_tool, responses_websocket_session, set_tracing_disabled

MODEL = os.environ.get("MODEL", "demo")
set_tracing_disabled(True)  # traces go to OpenAI, with your key


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


async def main():
    async with responses_websocket_session(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8787/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "any"),
        unknown_prefix_mode="model_id",
    ) as session:
        guide = Agent(name="guide", model=MODEL, tools=[get_weather])
        result = await session.run(guide, "How is the weather in Paris?")
        print(result.final_output)

        plain = Agent(name="plain", model=MODEL)
        first = await session.run(plain, "My name is Ada.")
        second = session.run_streamed(
            plain, "What is my name?", previous_response_id=first.last_response_id
        )
        async for event in second.stream_events():
            if event.type != "raw_response_event":
                continue
            if event.data.type == "response.output_text.delta":
                print(event.data.delta, end="")
        print()


asyncio.run(main())
