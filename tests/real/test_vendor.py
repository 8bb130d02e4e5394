"""The libraries of the chat page are those of npm, in the versions of the lock."""

import json
import re
from pathlib import Path

import pytest
from support.snippets import ROOT

VENDOR = ROOT / "static/vendor"
PACKAGES = ROOT / ".venv-node/node_modules"
LOCK = Path(__file__).parent / "node/package-lock.json"
ORIGINS = {
    "marked.esm.js": "marked/lib/marked.esm.js",
    "marked.LICENSE.txt": "marked/LICENSE",
    "purify.es.mjs": "dompurify/dist/purify.es.mjs",
    "dompurify.LICENSE.txt": "dompurify/LICENSE",
}


@pytest.mark.skipif(not PACKAGES.exists(), reason="no npm on this machine")
def test_every_file_is_the_packages_own():
    assert {path.name for path in VENDOR.iterdir()} == ORIGINS.keys() | {"README.md"}
    for name, origin in ORIGINS.items():
        assert (VENDOR / name).read_bytes() == (PACKAGES / origin).read_bytes(), name


def test_the_table_names_the_locks_versions():
    packages = json.loads(LOCK.read_text())["packages"]
    table = (VENDOR / "README.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| `(\w+)` \| ([\d.]+) \|", table, re.MULTILINE)
    assert {name for name, _, _ in rows} == {
        name for name in ORIGINS if not name.endswith("LICENSE.txt")
    }
    for _, package, version in rows:
        assert version == packages[f"node_modules/{package}"]["version"]
