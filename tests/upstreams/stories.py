"""What the models of loops say, turn for turn, whatever the dialect: told by `agent_loop`.

A story is chosen by its name in the model's name. `journey`, `handover` and `namespaced` are for
the tools of `clients.loops`; `codex…` for the tools of the Codex CLI.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]

PATCH = """*** Begin Patch
*** Update File: notes.txt
@@
-one
+two
*** End Patch
"""


@dataclass(frozen=True)
class Call:
    """A call of the client's tool. Of a custom tool the arguments are ``{"content": text}``."""

    name: str
    arguments: Json
    namespace: str = ""
    kind: Literal["function", "custom", "tool_search"] = "function"

    @property
    def flat(self) -> str:
        """What a provider without namespaces calls it."""
        return f"{self.namespace}__{self.name}" if self.namespace else self.name

    @property
    def written(self) -> str:
        return json.dumps(self.arguments, separators=(",", ":"))


@dataclass(frozen=True)
class Step:
    """One answer of the model."""

    thought: str
    text: str = ""
    calls: tuple[Call, ...] = ()
    is_searched: bool = False


def _weather(city: str, namespace: str = "") -> Call:
    return Call("get_weather", {"city": city}, namespace)


def _steps(namespace: str = "", *, last: Call | None = None) -> tuple[Step, ...]:
    booking = last or Call("book", {"city": "Oslo"}, namespace)
    return (
        Step("Paris first.", "Looking at Paris.", (_weather("Paris", namespace),), True),
        Step("Two more.", "", tuple(_weather(city, namespace) for city in ("Oslo", "Rome"))),
        Step("Oslo it is.", "Booking Oslo.", (booking,)),
        Step("Done.", "Oslo is booked."),
    )


def _run(command: str) -> Call:
    return Call("exec_command", {"cmd": command})


def _of_weather(name: str, **arguments: str) -> Call:
    """A call of the MCP server (`codex.weather`)."""
    return Call(name, arguments, "mcp__weather")


PLAN = [{"step": "Write", "status": "in_progress"}, {"step": "Look", "status": "pending"}]
_BUILT_IN = (
    Step(
        "A plan first.",
        "Writing one.",
        (Call("update_plan", {"plan": PLAN}), _run("echo one > notes.txt")),
    ),
    Step("It is to be two.", "", (Call("apply_patch", {"content": PATCH}, kind="custom"),)),
    Step(
        "Is it?",
        "Looking at both.",
        (_run("cat notes.txt"), Call("view_image", {"path": "dot.png"})),
    ),
    Step("Done.", "The note says two."),
)
_FORECASTS = (
    Step(
        "Two more.",
        "",
        (_of_weather("forecast", city="Oslo"), _of_weather("forecast", city="Rome")),
    ),
    Step("Oslo it is.", "Noting Oslo.", (_of_weather("note", text="Oslo"), _run("echo noted"))),
    Step("Done.", "Oslo is noted."),
)
_OFFERED = (
    Step("Paris first.", "Looking at Paris.", (_of_weather("forecast", city="Paris"),)),
    *_FORECASTS,
)
_SEARCH = Call("tool_search", {"query": "weather forecast", "limit": 2}, kind="tool_search")
_FOUND = (Step("Who knows it?", "Searching.", (_SEARCH,)), *_FORECASTS)


def _script(source: str) -> Call:
    """Tools called by a program, as Codex has it for its newest models."""
    return Call("exec", {"content": source}, "functions", "custom")


_SCRIPTED = (
    Step(
        "A file first.",
        "Writing it.",
        (_script("await tools.exec_command({cmd: 'echo one > notes.txt'}); text('Done.');"),),
    ),
    Step(
        "It is to be two.", "", (_script(f"text(await tools.apply_patch({json.dumps(PATCH)}));"),)
    ),
    Step(
        "And the weather?",
        "Asking.",
        (_script("text(await tools.mcp__weather__forecast({city: 'Oslo'}));"),),
    ),
    Step("Done.", "The note says two."),
)

STORIES = {
    "journey": _steps(),
    "handover": _steps(last=Call("transfer_to_booker", {})),
    "namespaced": _steps("travel"),
    "codexbuiltin": _BUILT_IN,
    "codexoffered": _OFFERED,
    "codexfound": _FOUND,
    "codexscripted": _SCRIPTED,
}


def story_of(model: str) -> tuple[Step, ...]:
    """The steps that a model tells; none, if it is of another scenario."""
    return next((steps for name, steps in STORIES.items() if name in model), ())
