"""The snippets of docs/clients.md that need npm: run as they stand, against a bridge of that page.

`tests/real` runs them with the packages of the lock, and ``make try-clients`` with the newest: exit
status 1 if one prints something else than what is shown.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent))

from support import snippets
from support.fleet import Fresh
from support.snippets import ADDRESS, ROOT, Snippet, fits, of_kind

PAGE = ROOT / "docs/clients.md"
PROGRAMS = {"js node": ["node"], "sh codex": ["bash", "-eu"]}
NEWEST = ROOT / ".venv-clients"


async def tried(packages: Path) -> list[tuple[Snippet, str]]:
    """Each snippet, and what it prints or why it fails, with what npm has installed in a folder."""
    page = snippets.read(PAGE.read_text(encoding="utf-8"))
    [config] = of_kind(page, "toml bridge")
    [environment] = of_kind(page, "sh environment")
    [codex] = of_kind(page, "toml codex")
    variables = snippets.exported(environment.text)
    found = []
    with TemporaryDirectory(dir=packages) as folder:  # node looks for packages in the folders above
        async with Fresh(tomllib.loads(config.text), variables) as bridge:
            await bridge.wait_ready()
            host = bridge.url.removeprefix("http://")
            (Path(folder) / "config.toml").write_text(
                codex.text.replace(ADDRESS, host), encoding="utf-8"
            )
            environ = snippets.surroundings(
                {name: text.replace(ADDRESS, host) for name, text in variables.items()}
            )
            environ["PATH"] = f"{packages / 'node_modules/.bin'}{os.pathsep}{environ['PATH']}"
            environ["CODEX_HOME"] = folder
            for snippet in of_kind(page, *PROGRAMS):
                text = snippet.text.replace(ADDRESS, host)
                command = PROGRAMS[snippet.kind]
                try:
                    said = await snippets.run(command, text, environ, Path(folder))
                except AssertionError as failed:
                    said = str(failed)
                found.append((snippet, said))
    return found


async def main() -> int:
    """Try them all; the exit status."""
    wrong = 0
    for snippet, said in await tried(NEWEST):
        is_right = fits(snippet.prints or "", said)
        wrong += not is_right
        print(f"{snippet}: {'as shown' if is_right else 'NOT as shown:'}")  # noqa: T201
        if not is_right:
            print(said)  # noqa: T201
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
