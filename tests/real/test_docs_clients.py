"""docs/clients.md: its snippets that need npm run as they stand, with the packages of the lock."""

import shutil

import pytest
from support.snippets import ROOT, fits
from try_clients import PROGRAMS, tried


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
async def test_a_program_of_node_prints_what_is_shown():
    found = await tried(ROOT / ".venv-node")
    assert {snippet.kind for snippet, _ in found} == PROGRAMS.keys()
    wrong = {str(snippet): said for snippet, said in found if not fits(snippet.prints, said)}
    assert wrong == {}
