"""What each family's provider is to be asked in the last turn of a loop, whole.

The model's turns are the provider's own words (`upstreams.agent_loop`): they come back as it said
them. A client that resends its history has no place for the blocks of the provider's own tools:
Anthropic and Gemini get theirs back in chains only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from clients.loops import BOOKER, CITY, QUESTION, SEALED
from upstreams.agent_loop import anthropic_blocks, gemini_parts, responses_items
from upstreams.stories import Step, story_of

Json = dict[str, Any]

WEATHER = (("Rain in Paris.",), ("Dry in Oslo.", "Rain in Rome."))
TOOLS = (("get_weather", "The weather in a city."), ("book", "Book a trip."))
HOSTED_PARTS = frozenset({"executableCode", "codeExecutionResult"})
HOSTED_BLOCKS = frozenset({"server_tool_use", "web_search_tool_result"})
# What clients leave out of the calls that they send back themselves.
UNSENT = {"pydantic": {"status"}, "langchain": {"status"}, "ai_sdk": {"id", "status"}}
NO_ARGUMENTS: Json = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Loop:
    """One loop that has come to its last turn: of whom, of what, and how it was told."""

    client: str
    model: str  # as the provider calls it; it names the story
    is_chained: bool
    is_stored: bool
    is_continued: bool = False  # a provider that remembers is asked where it has answered before
    is_streamed: bool = True

    @property
    def is_handed_over(self) -> bool:
        return "handover" in self.model

    @property
    def namespace(self) -> str:
        return "travel" if "namespaced" in self.model else ""

    def turns(self) -> Iterator[tuple[int, Step, tuple[str, ...]]]:
        """The turns before the last: number, what the model said, what the tools said."""
        booked = '{"assistant": "booker"}' if self.is_handed_over else "Booked."
        for number, outputs in enumerate((*WEATHER, (booked,))):
            yield number, story_of(self.model)[number], outputs

    def functions(self, namespace: str = "") -> list[Json]:
        """The tools as this client describes them; the one that has the last word has none."""
        if self.is_handed_over:
            return []
        prefix = f"{namespace}__" if namespace else ""
        return [
            {"name": prefix + name, "description": said, "parameters": self._parameters(name)}
            for name, said in TOOLS
        ]

    def _parameters(self, name: str) -> Json:
        if self.client == "ai_sdk":
            return {"$schema": "http://json-schema.org/draft-07/schema#", **CITY}
        if self.client == "langchain":
            return {key: CITY[key] for key in CITY if key != "additionalProperties"}
        if self.client != "agents":
            return CITY
        city = {"city": {"title": "City", "type": "string"}}
        title = f"{name}_args"
        return {"type": "object", "title": title, "properties": city, "required": ["city"]}

    def strict(self) -> Json:
        """What this client says of its tools' strictness."""
        return (
            {} if self.client in ("langchain", "ai_sdk") else {"strict": self.client == "pydantic"}
        )

    def kept(self, call: Json) -> Json:
        """What comes back of a call; LangChain does not take its status from a stream."""
        lost = UNSENT.get(self.client, set())
        if self.is_chained or (self.client == "langchain" and not self.is_streamed):
            lost = set()
        return {key: call[key] for key in call if key not in lost}

    def message_id(self, of_the_model: str) -> str:
        """The id of a resent message; LangChain sends only those that are stored."""
        if self.client != "langchain" or self.is_chained or self.is_stored:
            return of_the_model
        return {"msg_up0": "msg_1", "msg_up2": "msg_2"}[of_the_model]

    def choice(self) -> Json:
        """What this client says of the choice."""
        return {"tool_choice": "auto"} if self.client in ("pydantic", "ai_sdk") else {}

    def sources(self) -> list[str]:
        """What this client wants of a search on the web."""
        is_asked = self.client == "ai_sdk" and not self.namespace
        return ["web_search_call.action.sources"] if is_asked else []

    def question(self) -> Json:
        """The user's message, as this client writes it."""
        text: Any = QUESTION
        if self.client == "ai_sdk":
            text = [{"type": "input_text", "text": QUESTION}]
        return {"type": "message", "role": "user", "content": text}


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
    return {
        "model": loop.model,
        "max_tokens": 4096,
        "stream": True,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "low"},
        "messages": messages,
        **_claude_tools(loop),
    }


def _claude_tools(loop: Loop) -> Json:
    if loop.is_handed_over:  # calls in a history want their tools declared
        called = ("get_weather", "transfer_to_booker")
        tools = [{"name": name, "input_schema": NO_ARGUMENTS} for name in called]
        system = [{"type": "text", "text": BOOKER}]
        return {"system": system, "tools": tools, "tool_choice": {"type": "none"}}
    search = {"name": "web_search", "type": "web_search_20250305"}
    if loop.namespace:
        search = {"name": "tool_search_tool_bm25", "type": "tool_search_tool_bm25_20251119"}
    functions = [
        {"name": one["name"], "description": one["description"], "input_schema": one["parameters"]}
        for one in loop.functions(loop.namespace)
    ]
    return {"tools": [*functions, search]}


def _gemini(loop: Loop) -> Json:
    contents: list[Json] = [{"role": "user", "parts": [{"text": QUESTION}]}]
    ids = (f"call_{count}" for count in range(1, 9))
    for number, step, outputs in loop.turns():
        parts = [part for part in gemini_parts(number, step) if "thought" not in part]
        is_own = loop.is_chained and step.is_searched  # the turn goes back as it came
        if not is_own:
            parts = [part for part in parts if not HOSTED_PARTS & part.keys()]
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        answers = []
        for call, said in zip(calls, outputs, strict=True):
            named = {} if is_own else {"id": next(ids)}
            call.update(named)
            response = {"name": call["name"], "response": {"output": said}, **named}
            answers.append({"functionResponse": response})
        contents += [{"role": "model", "parts": parts}, {"role": "user", "parts": answers}]
    return {
        "contents": contents,
        "generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "low"}},
        **_gemini_tools(loop),
    }


def _gemini_tools(loop: Loop) -> Json:
    if loop.is_handed_over:
        return {"systemInstruction": {"parts": [{"text": BOOKER}]}}
    declared = [
        {
            "name": one["name"],
            "description": one["description"],
            "parametersJsonSchema": one["parameters"],
        }
        for one in loop.functions(loop.namespace)
    ]
    functions = {"functionDeclarations": declared}
    if loop.namespace:
        return {"tools": [functions]}
    of_both = {"includeServerSideToolInvocations": True}
    return {"tools": [functions, {"codeExecution": {}}], "toolConfig": of_both}


def _chat(loop: Loop) -> Json:
    messages: list[Json] = [{"role": "user", "content": QUESTION}]
    if loop.is_handed_over:
        messages.insert(0, {"role": "system", "content": BOOKER})
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
        messages.append({**said, "reasoning": step.thought, "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": output}
            for call, output in zip(calls, outputs, strict=True)
        ]
    tools = [
        {"type": "function", "function": {**one, **loop.strict()}}
        for one in loop.functions(loop.namespace)
    ]
    return {
        "model": loop.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
        "messages": messages,
        **({"tools": tools} if tools else {}),
        **loop.choice(),
    }


# The options of a web search that each client sends.
SEARCHES: dict[str, Json] = {
    "openai": {},
    "references": {},
    "agents": {"filters": None, "search_context_size": "medium", "user_location": None},
    "pydantic": {"search_context_size": "medium"},
    "langchain": {},
    "ai_sdk": {},
}


def _native(loop: Loop) -> Json:
    items = [loop.question()]
    for number, step, outputs in loop.turns():
        said = responses_items(number, step)
        calls = [item["call_id"] for item in said if item["type"] == "function_call"]
        items += [_sent_back(item, loop) for item in said]
        items += [
            {"type": "function_call_output", "call_id": call, "output": output}
            for call, output in zip(calls, outputs, strict=True)
        ]
    return {
        "model": loop.model,
        "stream": True,
        "store": False,
        "include": [*loop.sources(), SEALED],
        "reasoning": {"effort": "low", "summary": "auto"},
        "input": items,
        "tools": _native_tools(loop),
        **({"instructions": BOOKER} if loop.is_handed_over else {}),
        **loop.choice(),
    }


def _native_tools(loop: Loop) -> list[Json]:
    functions = [{"type": "function", **loop.strict(), **one} for one in loop.functions()]
    if loop.namespace:
        space = {"type": "namespace", "name": loop.namespace, "description": "Trips."}
        return [{**space, "tools": functions}, {"type": "tool_search"}]
    if loop.is_handed_over:
        return []
    return [{"type": "web_search", **SEARCHES[loop.client]}, *functions]


def _sent_back(item: Json, loop: Loop) -> Json:
    """Log probabilities are no part of what is asked."""
    if item["type"] == "message":
        parts = [{key: part[key] for key in part if key != "logprobs"} for part in item["content"]]
        return {**item, "id": loop.message_id(item["id"]), "content": parts}
    return loop.kept(item) if item["type"] == "function_call" else item


def _socket(loop: Loop) -> Json:
    """As over HTTP; but the provider stores as the client says, and it may remember."""
    asked = {**_native(loop), "type": "response.create", "store": loop.is_stored}
    del asked["stream"]
    if loop.is_continued:
        asked |= {"input": asked["input"][-1:], "previous_response_id": "resp_1"}
    return asked


VIEWS: dict[str, Callable[[Loop], Json]] = {
    "native": _native,
    "chat": _chat,
    "claude": _claude,
    "gemini": _gemini,
    "socket": _socket,
}
