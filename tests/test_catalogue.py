"""docs/faults.md is what the cases and the marks of the tests say."""

import pytest
from catalogue.cases import CASES, ELSEWHERE, GROUPS
from catalogue.table import PAGE, marks, page, problems, shown


def test_every_case_has_a_test_or_a_reason():
    assert list(problems(shown())) == []


def test_the_page_is_the_one_that_the_marks_make():
    """`python -m tests.catalogue` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page(shown())


def test_numbers_count_up_in_each_group():
    for letter in GROUPS:
        numbers = [int(number[1:]) for number in CASES if number[0] == letter]
        assert numbers == list(range(1, len(numbers) + 1))
    assert all(number[0] in GROUPS for number in CASES)


def test_each_case_says_what_happens_and_what_is_seen():
    assert [number for number, words in CASES.items() if ": " not in words] == []


MARKED = """
@pytest.mark.catalogue("W1", "W2")
async def test_one(): ...

CASES = [pytest.param(1, marks=pytest.mark.catalogue("R7"))]

@pytest.mark.catalogue("C1")
class TestMany: ...
"""


def test_marks_are_read_wherever_they_may_stand():
    assert sorted(marks(MARKED)) == ["C1", "R7", "W1", "W2"]


@pytest.mark.parametrize(
    "source",
    [
        "@pytest.mark.catalogue(NUMBER)\ndef test_it(): ...",
        "@pytest.mark.catalogue(1)\ndef test_it(): ...",
        '@pytest.mark.catalogue("W1")\ndef not_a_test(): ...',
    ],
)
def test_what_is_no_mark_is_refused(source):
    with pytest.raises(ValueError, match=r"name|no test"):
        list(marks(source))


ALL = {number: ["test_all.py"] for number in CASES if number not in ELSEWHERE}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"W99": ["test_all.py"]}, "W99 of test_all.py is no case"),
        ({"B1": ["test_all.py"]}, "B1 has a test, and a reason to have none"),
        ({"W1": None}, "W1 has neither a test nor a reason to have none"),
    ],
)
def test_what_does_not_fit_is_said(change, problem):
    found = {number: files for number, files in {**ALL, **change}.items() if files}
    assert list(problems(found)) == [problem]
    assert list(problems(ALL)) == []


def test_a_case_without_a_test_is_not_said_to_have_one():
    said = page({"W1": ["a/test_b.py"]})
    assert f"1 of {len(CASES)} numbered faults" in said
    assert "| W1 | killed while it streams" in said
    assert "| [a/test_b](../tests/a/test_b.py) |" in said
    assert "| none: by `make scale` |" in said
