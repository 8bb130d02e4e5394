"""What stands at the top of the repository, and that its hooks fetch nothing."""

import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOP = frozenset(
    """ws_bridge tests static docs deploy examples config.toml pyproject.toml Makefile LICENSE
    README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md""".split()
)
BUILT = frozenset({"dist"})  # by `python -m build`; git ignores it
README_BYTES = 10_000
SECTIONS = ["Added", "Changed", "Fixed", "Security", "Removed"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_top_level_holds_what_contributing_says():
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert names - BUILT <= TOP
    page = read("CONTRIBUTING.md")
    assert [name for name in TOP if name.removesuffix(".md") not in page] == []


def test_the_readme_can_be_read_at_one_sitting():
    assert len(read("README.md").encode()) <= README_BYTES


def test_the_changelog_has_the_sections_of_keep_a_changelog_in_order():
    assert read("CHANGELOG.md").startswith("# Changelog\n")
    releases = re.split(r"^## ", read("CHANGELOG.md"), flags=re.MULTILINE)[1:]
    assert releases[0].startswith("[Unreleased]\n")
    for release in releases:
        titles = re.findall(r"^### (.*)$", release, flags=re.MULTILINE)
        assert titles == [title for title in SECTIONS if title in titles]


def test_the_hooks_are_local_and_run_what_make_lint_runs():
    page = read(".pre-commit-config.yaml")
    assert set(re.findall(r"repo: (\S+)", page)) == {"local"}
    entries = [shlex.split(entry) for entry in re.findall(r"entry: (.*)", page)]
    hooks = {tuple(word for word in entry if not word.startswith("-")) for entry in entries}
    recipe = read("Makefile").partition("\nlint:")[2].partition("\n\n")[0].splitlines()[1:]
    lints = {
        tuple(word for word in shlex.split(line) if not word.startswith("-")) for line in recipe
    }
    assert hooks == lints


def test_make_serve_shows_what_it_installs():
    # The suite itself is run by make, which would name the folder first.
    quiet = "--no-print-directory"
    command = ("make", quiet, "--dry-run", "--always-make", ".venv/.serve")
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    first, *lines = made.stdout.splitlines()
    assert first.startswith('echo "Installing into .venv, once')
    [pip] = [line for line in lines if "pip install" in line]
    assert "--quiet" not in pip
