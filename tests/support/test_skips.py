"""Where every test is to run, one that is skipped has failed, and says why it did not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.hang import HANG_SECONDS
from support.skips import VARIABLE

SKIPPED = """
import pytest

def test_runs(): pass

@pytest.mark.skip(reason="marked so")
def test_marked(): pass

@pytest.mark.skipif(True, reason="not on this machine")
def test_of_another_machine(): pass

@pytest.fixture
def part(): pytest.skip("no such part")

def test_of_a_part(part): pass

def test_by_itself(): pytest.skip("found out late")

@pytest.mark.xfail(reason="known")
def test_known(): assert False
"""
WHOLE = "import pytest\npytest.skip('the whole file', allow_module_level=True)\n"
FLAGS = ("-p", "no:cacheprovider", "--continue-on-collection-errors")
REASONS = ("marked so", "not on this machine", "no such part", "found out late", "known")


@pytest.mark.parametrize("spread", [(), ("-n", "1")], ids=["alone", "spread"])
@pytest.mark.parametrize("is_strict", [False, True])
def test_a_skip_is_a_failure_where_every_test_is_to_run(tmp_path, spread, is_strict):
    (tmp_path / "test_some.py").write_text(SKIPPED)
    (tmp_path / "test_whole.py").write_text(WHOLE)
    kept = {key: text for key, text in os.environ.items() if not key.startswith("PYTEST_")}
    ended = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "pytest", "-p", "skips", *spread, *FLAGS],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(Path(__file__).parent), VARIABLE: "1" if is_strict else ""},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    last = ended.stdout.splitlines()[-1]
    if is_strict:
        assert ended.returncode != 0
        assert all(f"did not run: {reason}" in ended.stdout for reason in REASONS), ended.stdout
        assert "the whole file" in ended.stdout
        assert "skipped" not in last
        assert "xfailed" not in last
    else:
        assert (ended.returncode, "1 passed, 5 skipped, 1 xfailed" in last) == (0, True), last
