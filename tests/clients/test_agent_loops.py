"""Agents' loops of three turns of tools: what the provider is asked in the last turn, whole."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from clients.loop_views import VIEWS, Loop
from clients.loops import LOOPS
from clients.roads import (
    AGENT_FAMILIES,
    HISTORIES,
    HOSTED,
    WAYS,
    Pair,
    Road,
    normal,
    providers,
    road_to,
    two_servers,
)
from clients.servers import Family
from clients.tape import Tape
from upstreams.sockets import FakeSockets

Json = dict[str, Any]

# Way and history, where they go together.
OFTEN = ("socket", "elsewhere", "http")
BRIEFLY = (("socket", "resent"), ("elsewhere", "chained"), ("http", "chained"), ("http", "resent"))
ROUTES = {
    "references": tuple((way, "referred") for way in OFTEN),
    "langchain": (
        *itertools.product(("http", "http-elsewhere", "whole"), ("chained", "resent")),
        ("http-elsewhere", "referred"),
    ),
    "journey": (*itertools.product(OFTEN, ("chained", "resent")), ("socket", "unstored")),
    "namespaced": BRIEFLY,
    "handover": BRIEFLY[:2],
}
# The journey on all of a client's routes, the other stories on some.
CASES = [
    (story, client, *route)
    for story, client in LOOPS
    for route in ROUTES.get(client, ROUTES[story])
    if story == "journey" or route in BRIEFLY
]
# How often a tool takes its client to another server.
MOVES = {"journey": 3, "namespaced": 3, "handover": 2}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSockets]:
    with providers() as running:
        yield running


@pytest.fixture(scope="module")
def pair(fake: FakeSockets) -> Iterator[Pair]:
    with two_servers(fake) as bridges:
        yield bridges


@pytest.fixture
async def road(pair: Pair, tape: Tape) -> AsyncIterator[Road]:
    async with road_to(pair, tape) as road:
        yield road


@pytest.mark.parametrize("family", AGENT_FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("case", CASES, ids="-".join)
async def test_a_loop_ends_and_its_provider_gets_its_own_words_back(
    road: Road, fake: FakeSockets, case: tuple[str, str, str, str], family: Family
):
    story, client, way, history = case
    model = "-".join((*case, family.name))
    answer = LOOPS[story, client](road.way(way, history), family.model(model), HOSTED[family.name])
    assert await answer == "Oslo is booked."
    model = family.route.partition("/")[2] + model
    asked = fake.asked(model)
    assert len(asked) == 4
    is_chained, is_stored = HISTORIES[history]
    moves = MOVES[story] if WAYS[way][-1] else 0
    has_moved = moves and story != "handover"  # the handoff itself is no such tool
    is_continued = is_chained and not has_moved
    loop = Loop(client, model, is_chained, is_stored, is_continued, way != "whole")
    assert normal(asked[-1]) == VIEWS[family.name](loop)
    assert road.moves == moves
