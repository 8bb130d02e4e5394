"""What is installed: the range of litellm that pyproject.toml lets in is the one that is tested."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEWEST = ROOT / ".ci/constraints.txt"
LOWEST = ROOT / ".ci/constraints-lowest.txt"


def pins(path: Path) -> dict[str, str]:
    """Version by package."""
    return dict(line.split("==") for line in path.read_text().splitlines())


def litellms_range() -> tuple[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [wanted] = [each for each in project["dependencies"] if each.startswith("litellm")]
    found = re.fullmatch(r"litellm>=([\d.]+),<=([\d.]+)", wanted)
    assert found, "a tested range, and no extra"
    return found[1], found[2]


def test_both_ends_of_litellms_range_are_what_the_constraints_install():
    assert litellms_range() == (pins(LOWEST)["litellm"], pins(NEWEST)["litellm"])


def test_every_pin_is_exact_and_names_no_address():
    for path in (NEWEST, LOWEST):
        for line in path.read_text().splitlines():
            assert re.fullmatch(r"[A-Za-z0-9_.\-]+==[0-9][\w.]*", line), line


def test_the_openai_package_is_the_newest_kind_for_bridge_and_clients_alike():
    """One environment carries litellm and every client."""
    for path in (NEWEST, LOWEST):
        assert pins(path)["openai"].split(".")[0] == "3"
