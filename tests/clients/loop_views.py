"""What each family's provider is to be asked in the last turn of a loop, whole.

The model's turns are the provider's own words (`upstreams.agent_loop`): they come back as it said
them. A client that resends its history has no place for the blocks of the provider's own tools:
they come back in chains only, and so do thoughts that a seal does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from clients.loops import CITY, QUESTION, SEALED
from upstreams.agent_loop import (
    Step,
    anthropic_blocks,
    gemini_parts,
    responses_items,
    story_of,
)

Json = dict[str, Any]

OUTPUTS = (("Rain in Paris.",), ("Dry in Oslo.", "Rain in Rome."), ("Booked.",))
HOSTED_PARTS = ("executableCode", "codeExecutionResult")
HOSTED_BLOCKS = ("server_tool_use", "web_search_tool_result")


@dataclass(frozen=True)
class Loop:
    """One loop that has come to its last turn."""

    client: str
    model: str  # as the provider calls it
    is_chained: bool

    def turns(self) -> Iterator[tuple[int, Step, tuple[str, ...]]]:
        """The turns before the last: number, what the model said, what the tools said."""
        for number, outputs in enumerate(OUTPUTS):
            yield number, story_of(self.model)[number], outputs

    def functions(self) -> list[Json]:
        """The tools as this client describes them."""
        names = (("get_weather", "The weather in a city."), ("book", "Book a trip."))
        return [
            {"name": name, "description": said, "parameters": self._parameters(name)}
            for name, said in names
        ]

    def _parameters(self, name: str) -> Json:
        if self.client != "agents":
            return CITY
        city = {"title": "City", "type": "string"}
        title = f"{name}_args"
        return {
            "type": "object",
            "title": title,
            "properties": {"city": city},
            "required": ["city"],
        }

    @property
    def is_strict(self) -> bool:
        return self.client == "pydantic"

    def choice(self) -> Json:
        """What this client says of the choice."""
        return {"tool_choice": "auto"} if self.client == "pydantic" else {}


def _claude(loop: Loop) -> Json:
    messages: list[Json] = [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]
    for number, step, outputs in loop.turns():
        blocks = anthropic_blocks(number, step)
        kept = [one for one in blocks if loop.is_chained or one["type"] not in HOSTED_BLOCKS]
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        messages.append({"role": "assistant", "content": kept})
        results = [
            {
                "type": "tool_result",
                "tool_use_id": call,
                "content": [{"type": "text", "text": said}],
            }
            for call, said in zip(calls, outputs, strict=True)
        ]
        messages.append({"role": "user", "content": results})
    tools: list[Json] = [
        {"name": one["name"], "description": one["description"], "input_schema": one["parameters"]}
        for one in loop.functions()
    ]
    tools.append({"name": "web_search", "type": "web_search_20250305"})
    return {
        "model": loop.model,
        "max_tokens": 4096,
        "stream": True,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "low"},
        "messages": messages,
        "tools": tools,
    }


def _gemini(loop: Loop) -> Json:
    contents: list[Json] = [{"role": "user", "parts": [{"text": QUESTION}]}]
    ids = (f"call_{count}" for count in range(1, 9))
    for number, step, outputs in loop.turns():
        parts = [part for part in gemini_parts(number, step) if "thought" not in part]
        answers = []
        is_own = loop.is_chained and step.is_searched  # the turn goes back as it came
        if not is_own:
            parts = [part for part in parts if not part.keys() & set(HOSTED_PARTS)]
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        for call, said in zip(calls, outputs, strict=True):
            named = {} if is_own else {"id": next(ids)}
            call.update(named)
            response = {"name": call["name"], "response": {"output": said}, **named}
            answers.append({"functionResponse": response})
        contents += [{"role": "model", "parts": parts}, {"role": "user", "parts": answers}]
    declared = [
        {
            "name": one["name"],
            "description": one["description"],
            "parametersJsonSchema": one["parameters"],
        }
        for one in loop.functions()
    ]
    return {
        "contents": contents,
        "generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "low"}},
        "toolConfig": {"includeServerSideToolInvocations": True},
        "tools": [{"functionDeclarations": declared}, {"codeExecution": {}}],
    }


def _chat(loop: Loop) -> Json:
    messages: list[Json] = [{"role": "user", "content": QUESTION}]
    for number, step, outputs in loop.turns():
        said = {"role": "assistant", "content": step.text or None}
        calls = [
            {
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": call.flat, "arguments": call.written},
            }
            for place, call in enumerate(step.calls)
        ]
        messages.append({**said, "reasoning_content": step.thought, "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": output}
            for call, output in zip(calls, outputs, strict=True)
        ]
    return {
        "model": loop.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
        "messages": messages,
        "tools": [
            {"type": "function", "function": {**one, "strict": loop.is_strict}}
            for one in loop.functions()
        ],
        **loop.choice(),
    }


SEARCHES: dict[str, Json] = {
    "openai": {},
    "agents": {"filters": None, "search_context_size": "medium", "user_location": None},
    "pydantic": {"search_context_size": "medium"},
}


def _native(loop: Loop) -> Json:
    items: list[Json] = [{"type": "message", "role": "user", "content": QUESTION}]
    for number, step, outputs in loop.turns():
        said = responses_items(number, step)
        calls = [item["call_id"] for item in said if item["type"] == "function_call"]
        items += [_sent_back(item, loop) for item in said]
        items += [
            {"type": "function_call_output", "call_id": call, "output": output}
            for call, output in zip(calls, outputs, strict=True)
        ]
    tools: list[Json] = [{"type": "web_search", **SEARCHES[loop.client]}]
    tools += [{"type": "function", "strict": loop.is_strict, **one} for one in loop.functions()]
    return {
        "model": loop.model,
        "stream": True,
        "store": False,
        "include": [SEALED],
        "reasoning": {"effort": "low", "summary": "auto"},
        "input": items,
        "tools": tools,
        **loop.choice(),
    }


def _sent_back(item: Json, loop: Loop) -> Json:
    """Log probabilities are no part of what is asked; pydantic-ai sends no status of a call."""
    if item["type"] == "message":
        parts = [{key: part[key] for key in part if key != "logprobs"} for part in item["content"]]
        return {**item, "content": parts}
    if item["type"] == "function_call" and loop.client == "pydantic" and not loop.is_chained:
        return {key: item[key] for key in item if key != "status"}
    return item


VIEWS: dict[str, Callable[[Loop], Json]] = {
    "native": _native,
    "chat": _chat,
    "claude": _claude,
    "gemini": _gemini,
}
