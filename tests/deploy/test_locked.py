"""The locked requirements of `deploy/`: what the tests run on, with hashes, and no address."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = [ROOT / "deploy" / name for name in ("requirements.txt", "requirements-build.txt")]
LINE = re.compile(r"([\w.-]+)==(\S+)( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def locked(path):
    """Version by package."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(one[1]): one[2] for line in lines if (one := LINE.fullmatch(line))}


def pinned():
    lines = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(name): version for name, version in (one.split("==") for one in lines)
    }


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_each_line_is_a_version_or_its_hash_and_names_no_address(path):
    head, made, *lines = path.read_text(encoding="utf-8").splitlines()
    assert (head[0], made.strip()) == ("#", "#    make lock")
    for line in lines:
        assert LINE.fullmatch(line) or HASH.fullmatch(line), line
    assert "://" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_what_the_tests_run_on_is_what_is_locked(path):
    """A package that only other systems need is in no test."""
    versions = pinned()
    others = {name for name in locked(path) if name not in versions}
    assert others <= {"async-timeout", "colorama", "httpx2-jsfetch"}
    assert {name: locked(path)[name] for name in locked(path) if name not in others} == {
        name: versions[name] for name in locked(path) if name not in others
    }


def test_all_that_the_project_names_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"]]
    wanted += project["project"]["optional-dependencies"]["encrypt"]
    runtime, build = map(locked, LOCKS)
    for one in map(Requirement, wanted):
        assert one.specifier.contains(runtime[canonicalize_name(one.name)]), one
    assert all(canonicalize_name(name) in build for name in project["build-system"]["requires"])
