"""``make try-clients``: the snippets of docs/clients.md whose packages the suite does not install.

Each is run as it stands against a bridge of the page's configuration; exit status 1 if one prints
something else than what is shown.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support import snippets
from support.fleet import Fresh
from support.snippets import ADDRESS, ROOT, fits, of_kind

PAGE = ROOT / "docs/clients.md"
PACKAGES = ROOT / ".venv-clients"
FOLDER = PACKAGES / "snippets"  # below it, as node looks for packages in the folders above
PROGRAMS = {
    "js node": ["node"],
    "sh codex": ["bash", "-eu"],
}


async def main() -> int:
    """Run them all; the exit status."""
    page = snippets.read(PAGE.read_text(encoding="utf-8"))
    [config] = of_kind(page, "toml bridge")
    [environment] = of_kind(page, "sh environment")
    [codex] = of_kind(page, "toml codex")
    variables = snippets.exported(environment.text)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    wrong = 0
    async with Fresh(tomllib.loads(config.text), variables) as bridge:
        await bridge.wait_ready()

        def placed(text: str) -> str:
            return text.replace(ADDRESS, bridge.url.removeprefix("http://"))

        (FOLDER / "config.toml").write_text(placed(codex.text), encoding="utf-8")
        environ = snippets.surroundings({name: placed(text) for name, text in variables.items()})
        environ["PATH"] = f"{PACKAGES / 'node_modules/.bin'}{os.pathsep}{environ['PATH']}"
        environ["CODEX_HOME"] = str(FOLDER)
        for snippet in of_kind(page, *PROGRAMS):
            command = PROGRAMS[snippet.kind]
            try:
                said = await snippets.run(command, placed(snippet.text), environ, FOLDER)
            except AssertionError as failed:
                said = str(failed)
            is_right = fits(snippet.prints or "", said)
            print(f"{snippet}: {'as shown' if is_right else 'NOT as shown:'}")  # noqa: T201
            if not is_right:
                wrong += 1
                print(said)  # noqa: T201
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
