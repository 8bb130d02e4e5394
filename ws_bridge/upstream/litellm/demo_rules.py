"""What the demo model answers: a conversation → a text, or a tool call (pure).

Rule 1: it is no AI and says so, in its first answer and whenever it is asked.
Rule 2: the table ``RULES`` is tried from top to bottom; the first rule with something to say wins.
Rule 3: nothing is kept between calls: what it remembers stands in the messages it is given.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ws_bridge.types import Json

COUNT_LIMIT = 2000
QUOTE_LIMIT = 500  # characters of the user's words that an answer repeats
SCHEMA_DEPTH = 8  # a schema may refer to itself; arguments end here
WHO = "I am a demo program, not an AI."

ASKS_WHO = re.compile(
    r"\b(?:who|what) are you\b|\byour name\b"
    r"|\bare you (?:an? )?(?:ai|bot|chatbot|human|llm|machine|model|person|program|real|robot)\b",
    re.IGNORECASE,
)
ASKS_COUNT = re.compile(r"\bcount (?:up )?to (\d{1,9})\b", re.IGNORECASE)
ASKS_EARLIER = re.compile(
    r"\bwhat (?:did|have) i (?:say|said|tell|told|write|written)\b", re.IGNORECASE
)
ASKS_FACT = re.compile(
    r"\b(?:what(?:.?s| is| are| was| were)|who(?:.?s| is)|tell me|remember|repeat|know)"
    r" my ([\w' -]{1,60})",
    re.IGNORECASE,
)
ASKS_THOUGHT = re.compile(r"\bthink", re.IGNORECASE)
FACT = re.compile(
    r"\bmy ([\w' -]{1,60}?) (?:is|are) ([^.!?\n]{1,200}?)(?= and my |[.!?,;\n]|$)", re.IGNORECASE
)
PROPER_NOUN = re.compile(r"\b(?:about|at|for|from|in|of|to) ([A-Z][\w-]*(?: [A-Z][\w-]*)*)")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


# What is known of the conversation


@dataclass(frozen=True, slots=True)
class DemoConversation:
    """The request, reduced to what the rules look at."""

    user_texts: tuple[str, ...]  # the user's messages, oldest first
    outputs: tuple[str, ...]  # tool outputs since the last answer
    tools: tuple[Json, ...]  # the functions offered: name and parameters
    tool_choice: Any
    answer_schema: Json | None  # the JSON Schema an answer must follow, if one is asked for

    @classmethod
    def of(cls, messages: list[Json], options: Json) -> DemoConversation:
        """Read chat messages and litellm's ``optional_params``."""
        user_texts = tuple(text_of(entry) for entry in messages if entry.get("role") == "user")
        outputs: list[str] = []
        for entry in messages:
            if entry.get("role") == "assistant":
                outputs.clear()
            elif entry.get("role") == "tool":
                outputs.append(text_of(entry))
        offered = (tool.get("function") for tool in options.get("tools") or ())
        tools = tuple(tool for tool in offered if isinstance(tool, dict) and tool.get("name"))
        schema = (options.get("response_format") or {}).get("json_schema", {}).get("schema")
        return cls(user_texts, tuple(outputs), tools, options.get("tool_choice"), schema)

    @property
    def last(self) -> str:
        """The user's last words; empty if there are none."""
        return self.user_texts[-1] if self.user_texts else ""

    def facts(self) -> dict[str, str]:
        """Every "my X is Y" of the user, X in lower case; the latest Y counts."""
        found = (fact for text in self.user_texts for fact in FACT.findall(text))
        return {name.lower(): value.strip() for name, value in found}


def text_of(message: Json) -> str:
    """The text of a chat message; what is no text is left out."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content.strip()
    return " ".join(part["text"] for part in content if isinstance(part.get("text"), str)).strip()


def _quote(text: str) -> str:
    return f'"{text[:QUOTE_LIMIT]}…"' if len(text) > QUOTE_LIMIT else f'"{text}"'


def _quoted(who: str, *texts: str) -> str:
    """A sentence of quotes; the last one's own full stop ends it too."""
    stop = "" if texts[-1].endswith((".", "!", "?")) else "."
    return f"{who}: {', '.join(map(_quote, texts))}{stop}"


# What is answered


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """A thought first, if any; then a text, or one tool call."""

    text: str = ""
    thought: str = ""
    tool: str = ""
    arguments: str = ""

    def deltas(self) -> Iterator[Json]:
        """The answer word by word, as deltas of chat chunks."""
        for word in _split(self.thought):
            yield {"role": "assistant", "reasoning_content": word}
        for word in _split(self.text):
            yield {"role": "assistant", "content": word}
        if self.tool:
            call_id = f"call_{uuid.uuid4().hex[:24]}"
            yield _call_delta({"name": self.tool, "arguments": ""}, id=call_id)
            for word in _split(self.arguments):
                yield _call_delta({"arguments": word})


def _call_delta(function: Json, **more: str) -> Json:
    call = {"index": 0, "type": "function", "function": function, **more}
    return {"role": "assistant", "tool_calls": [call]}


def _split(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def answer(talk: DemoConversation) -> DemoAnswer:
    """Decide what is said or called."""
    thought = _thought(talk) if ASKS_THOUGHT.search(talk.last) else ""
    if tool := _tool_to_call(talk):
        arguments = sample(tool.get("parameters"), talk.last)
        text = json.dumps(arguments if isinstance(arguments, dict) else {}, ensure_ascii=False)
        return DemoAnswer(thought=thought, tool=tool["name"], arguments=text)
    if talk.answer_schema is not None:
        text = json.dumps(sample(talk.answer_schema, talk.last), ensure_ascii=False)
        return DemoAnswer(thought=thought, text=text)
    text = next(text for rule in RULES if (text := rule(talk)))
    if len(talk.user_texts) <= 1 and WHO not in text:
        text = f"{WHO} {text}"
    return DemoAnswer(thought=thought, text=text)


def _thought(talk: DemoConversation) -> str:
    count, rules = len(talk.last.split()), len(RULES)
    return f"The last message has {count} words. I try {rules} rules until one fits."


def _tool_to_call(talk: DemoConversation) -> Json | None:
    """The tool that must be called before there is an answer; None if there is none."""
    if talk.outputs or talk.tool_choice == "none" or not talk.user_texts:
        return None
    wanted = None
    if isinstance(talk.tool_choice, dict):
        named = talk.tool_choice.get(str(talk.tool_choice.get("type")), talk.tool_choice)
        wanted = named.get("name")
    fitting = (tool for tool in talk.tools if wanted in (None, tool.get("name")))
    return next(fitting, None)


def _quote_outputs(talk: DemoConversation) -> str:
    return _quoted("The tool says", *talk.outputs) if talk.outputs else ""


def _identify(talk: DemoConversation) -> str:
    if not ASKS_WHO.search(talk.last):
        return ""
    return f"{WHO} I follow {len(RULES)} rules and say back what you tell me."


def _count(talk: DemoConversation) -> str:
    asked = ASKS_COUNT.search(talk.last)
    numbers = range(1, min(int(asked[1]), COUNT_LIMIT) + 1) if asked else ()
    return " ".join(map(str, numbers))


def _recall(talk: DemoConversation) -> str:
    asked = ASKS_FACT.search(talk.last)
    if asked is None:
        return ""
    thing, facts = f"{asked[1].strip().lower()} ", talk.facts()
    for name, value in facts.items():
        if thing.startswith(f"{name} "):
            return f"You told me: your {name} is {value}."
    return f"You have not told me your {thing.strip()} yet."


def _repeat(talk: DemoConversation) -> str:
    if not ASKS_EARLIER.search(talk.last):
        return ""
    earlier = talk.user_texts[:-1][-10:]
    return _quoted("You said", *earlier) if earlier else "Nothing before this."


def _note(talk: DemoConversation) -> str:
    facts = FACT.findall(talk.last)
    if not facts:
        return ""
    name, value = facts[-1]
    name = name.lower()
    return f'Noted: your {name} is {value.strip()}. Ask me "What is my {name}?" and I say it back.'


def _echo(talk: DemoConversation) -> str:
    count = len(talk.user_texts)
    seen = f"I have seen {count} turn{'s' * (count != 1)} of this conversation."
    quoted = _quoted("You said", talk.last) if talk.last else "There is no text to answer."
    return f'{quoted} {seen} Try "My name is Ada", "What is my name?" or "count to 20".'


Rule = Callable[[DemoConversation], str]
RULES: tuple[Rule, ...] = (_quote_outputs, _identify, _count, _recall, _repeat, _note, _echo)


# Arguments from a JSON Schema

FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T12:00:00Z",
    "email": "ada@example.com",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample(schema: Any, text: str, root: Any = None, depth: int = 0) -> Any:
    """A value that fits the schema as far as its types go; strings come from the user's words."""
    if not isinstance(schema, dict) or depth > SCHEMA_DEPTH:
        return None
    root = schema if root is None else root
    if isinstance(schema.get("$ref"), str):
        return sample(_referred(root, schema["$ref"]), text, root, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "anyOf", "oneOf", "allOf"):
        if isinstance(options := schema.get(key), list) and options:
            first = options[0]
            return first if key == "enum" else sample(first, text, root, depth + 1)
    return _of_type(schema, text, root, depth)


def _referred(root: Any, pointer: str) -> Any:
    place = root
    for name in pointer.removeprefix("#").strip("/").split("/"):
        place = place.get(name) if isinstance(place, dict) else None
    return place


def _of_type(schema: Json, text: str, root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties, required = schema.get("properties"), schema.get("required")
        fields = properties if isinstance(properties, dict) else {}
        needed = required if isinstance(required, list) else []
        return {
            name: sample(fields[name], text, root, depth + 1) for name in fields if name in needed
        }
    if kind == "array":
        return [sample(schema["items"], text, root, depth + 1)] if "items" in schema else []
    if kind in ("integer", "number"):
        return _number(schema, text, whole=kind == "integer")
    return {"boolean": True, "null": None}.get(str(kind), _string(schema, text))


def _number(schema: Json, text: str, *, whole: bool) -> float:
    found = NUMBER.search(text)
    value = float(found[0][:15]) if found else 1.0
    for key, clamp in (("minimum", max), ("maximum", min)):
        if isinstance(bound := schema.get(key), int | float):
            value = clamp(value, bound)
    return int(value) if whole else value


def _string(schema: Json, text: str) -> str:
    noun = PROPER_NOUN.search(text)
    return FORMATS.get(str(schema.get("format")), noun[1] if noun else text[:QUOTE_LIMIT])
