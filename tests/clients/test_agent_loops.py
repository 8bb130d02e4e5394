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
NATIVE = tuple(one for one in AGENT_FAMILIES if one.name in ("native", "socket"))
OTHERS = tuple(one for one in AGENT_FAMILIES if one not in NATIVE)
# How often a tool takes its client to another server.
MOVES = {"journey": 3, "namespaced": 3, "handover": 2}


def _cases() -> Iterator[Any]:
    """Each client on each of its routes, and the family that is asked.

    What is sent from turn to turn, and how a family says it, are of parts that do not know of each
    other. So the first two routes of a client go to every family, and each further one to two: one
    that speaks Responses itself, and another one, in turn from client to client.
    """
    for number, (story, client) in enumerate(LOOPS):
        routes = ROUTES.get(client, ROUTES[story])
        taken = [route for route in routes if story == "journey" or route in BRIEFLY]
        for place, route in enumerate(taken):
            turn = number + place
            some = NATIVE[turn % len(NATIVE)], OTHERS[turn % len(OTHERS)]
            for family in AGENT_FAMILIES if place < 2 else some:
                case = story, client, *route
                yield pytest.param(case, family, id="-".join((*case, family.name)))


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


@pytest.mark.parametrize(("case", "family"), _cases())
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
