"""The laws of the house over what the dialects' readers make of providers' bytes, whole or cut.

The laws are those of ``test_laws.py``; here their scripts are read, and not recorded.
"""

from __future__ import annotations

import inspect
from random import Random

import pytest
import test_laws
from wires import wires
from wires.readings import by_the_reader, differences

LAWS = [law for name, law in vars(test_laws).items() if name.startswith("test_law_")]
CUTS = 1  # of each wire: every law is run for each

each_wire = pytest.mark.parametrize("wire", wires(), ids=str)


def steps_of(wire):
    drafts, failure = by_the_reader(wire)
    return tuple(drafts) if failure is None else (*drafts, failure)


def cuts_of(wire):
    """The wire, cut at bytes that its name chooses."""
    random = Random(str(wire))  # noqa: S311
    for _ in range(CUTS):
        yield wire._replace(body=wire.body[: random.randrange(len(wire.body))])


async def check(law, steps, monkeypatch):
    monkeypatch.setattr(test_laws, "script", lambda _: steps)
    done = law("any")
    if inspect.isawaitable(done):
        await done


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("test_"))
async def test_every_law_holds_for_every_wire(law, monkeypatch):
    for wire in wires():
        await check(law, steps_of(wire), monkeypatch)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("test_"))
async def test_every_law_holds_for_wires_that_are_cut(law, monkeypatch):
    for wire in wires():
        for cut in cuts_of(wire):
            await check(law, steps_of(cut), monkeypatch)


@each_wire
def test_a_wire_is_read_alike_in_any_pieces(wire):
    random = Random(str(wire))  # noqa: S311
    sizes = [random.randint(1, 40) for _ in wire.body]
    whole, pieces = by_the_reader(wire), by_the_reader(wire, sizes)
    assert [draft.type for draft in whole[0]] == [draft.type for draft in pieces[0]]
    assert str(whole[1]) == str(pieces[1])


@each_wire
def test_a_cut_wire_fails_or_says_all_that_the_whole_one_does(wire):
    for cut in cuts_of(wire):
        reading = by_the_reader(cut)
        if reading[1] is None:  # only figures may come after the end
            assert differences(wire, reading, by_the_reader(wire)) <= {"usage"}
