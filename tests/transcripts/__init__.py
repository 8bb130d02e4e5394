"""What real calls through litellm gave, recorded: one file a scenario, one draft or error a line.

``python -m tests.transcripts`` records them again from the loopback providers.
"""

import json
from pathlib import Path
from typing import Any

from ws_bridge.errors import BridgeError, UpstreamError
from ws_bridge.protocol.events import Draft

FOLDER = Path(__file__).parent

# family: (provider prefix of litellm, path of the loopback server, scenarios)
FAMILIES: dict[str, tuple[str, str, str]] = {
    "responses": (
        "openai/",
        "/v1",
        """
        gpt-text gpt-reasoning gpt-rawreasoning gpt-tools gpt-rtools gpt-refusal gpt-annot
        gpt-logprobs gpt-phase gpt-image gpt-custom gpt-ci gpt-mcp gpt-incomplete gpt-incompletecf
        gpt-queued gpt-unknownev gpt-failed gpt-failedearly gpt-failed400 gpt-errevent gpt-drop
        gpt-pre1drop gpt-cleaneof gpt-zerobytes gpt-badline gpt-nontype gpt-stall gpt-err401
        gpt-err429quota""",
    ),
    "chat": (
        "groq/",
        "/v1",
        """
        m-text m-tools m-textools m-rtools m-reasoning m-interleavereasoning m-bothreasoning
        m-oneshottool m-noargtool m-noidtool m-refusal m-empty m-length m-cfilter m-logprobs m-annot
        m-images m-midmsgerr m-nofinish m-emptychoices m-nousage m-drop m-cleaneof m-zerobytes
        m-badline m-pre1drop m-stall m-err401 m-err400ctx m-err500html""",
    ),
    "anthropic": (
        "anthropic/",
        "",
        """
        claude-text claude-thinking claude-tool claude-thinking-texttool claude-redacted-thinking
        claude-noarg claude-thinking-interleave claude-maxtok claude-refusal claude-miderr
        claude-cite claude-drop claude-cleaneof claude-badline claude-stall claude-err529""",
    ),
}


def names() -> list[str]:
    """All scenarios as family-scenario."""
    return [
        f"{family}-{scenario}"
        for family, (_, _, scenarios) in FAMILIES.items()
        for scenario in scenarios.split()
    ]


def load(name: str) -> list[Draft | BridgeError]:
    """The steps of one transcript, as a script."""
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [_step(json.loads(line)) for line in lines]


def _step(line: dict[str, Any]) -> Draft | BridgeError:
    if "error" in line:
        return UpstreamError(**line["error"])
    return Draft(line["type"], line["fields"])


def dump(step: Draft | UpstreamError) -> str:
    """One line of a transcript."""
    if isinstance(step, Draft):
        return json.dumps({"type": step.type, "fields": step.fields}, ensure_ascii=False)
    names_ = ("message", "status", "code", "param", "retry_after")
    return json.dumps({"error": {name: getattr(step, name) for name in names_}})
