"""The fenced blocks of a page as programs, and what they print.

A block's kind is its fence's info string ("python", "js browser", …). A ``text`` block shows what
the block before it prints; "…" in it stands for any text.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.hang import HANG_SECONDS

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:8787"  # the bridge's, in every page
OUTPUT = "text"
ANYTHING = "…"

_FENCE = re.compile(r"^```(?P<kind>.*)\n(?P<text>(?s:.*?))^```$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_EXPORT = re.compile(r"^export (\w+)=(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """One block. ``prints`` is None where the page does not show it."""

    section: str
    kind: str
    line: int
    text: str
    prints: str | None = None

    def __str__(self) -> str:
        return f"{self.section}, line {self.line}"


def read(page: str) -> list[Snippet]:
    """The blocks in their order; those that show an output are with the block before them."""
    snippets: list[Snippet] = []
    for fence in _FENCE.finditer(page):
        kind, text, before = fence["kind"], fence["text"], page[: fence.start()]
        if kind == OUTPUT and snippets and snippets[-1].prints is None:
            last = snippets.pop()
            snippets.append(Snippet(last.section, last.kind, last.line, last.text, text))
        else:
            section = ["", *_HEADING.findall(_FENCE.sub("", before))][-1]
            snippets.append(Snippet(section, kind, before.count("\n") + 1, text))
    return snippets


def of_kind(snippets: Sequence[Snippet], *kinds: str) -> list[Snippet]:
    """Those of these kinds."""
    return [snippet for snippet in snippets if snippet.kind in kinds]


def exported(text: str) -> dict[str, str]:
    """The variables that a shell snippet exports."""
    return dict(_EXPORT.findall(text))


def fits(shown: str, printed: str) -> bool:
    """Whether what is printed is what is shown; spaces at the ends of lines do not count."""
    parts = [re.escape(part) for part in _trimmed(shown).split(ANYTHING)]
    return re.fullmatch("(?s:.*)".join(parts), _trimmed(printed)) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def surroundings(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables, in an environment without proxies, others' keys and addresses of clients."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("OPENAI_")
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept | {"PATH": path, **variables}


async def run(command: Sequence[str], text: str, environ: Mapping[str, str], folder: Path) -> str:
    """What a program prints when it is run on a file with the text; an error if it fails."""
    file = folder / "snippet.mjs"  # only node looks at the name
    file.write_text(text, encoding="utf-8")
    program = await asyncio.create_subprocess_exec(
        *command,
        str(file),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environ),
        cwd=folder,
    )
    try:
        async with asyncio.timeout(HANG_SECONDS):
            out, err = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    assert program.returncode == 0, f"exit code {program.returncode}\n{out.decode()}{err.decode()}"
    return out.decode()
