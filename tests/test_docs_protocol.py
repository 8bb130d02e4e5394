"""docs/protocol.md and the code name the same codes, events, fields, frames, limits and routes."""

import re
from pathlib import Path

from contract.code import (
    HOUSE,
    OF_AIOHTTP,
    close_frames,
    folded_events,
    known_codes,
    made_events,
    openais_events,
    tree,
)
from contract.page import PAGE, ROOT, headings, marked, rows, section
from support.scripted_upstream import Scripted

from ws_bridge.config import Config, Settings
from ws_bridge.errors import RESPONSE_ERROR_CODES
from ws_bridge.protocol import steering
from ws_bridge.protocol.client_frames import KINDS
from ws_bridge.protocol.request import CreateResponse
from ws_bridge.protocol.response import Envelope
from ws_bridge.server.app import Bridge

CITED = re.compile(r"docs/protocol\.md((?:,? (?:and )?§\d+(?:\.\d+)?)+)")


def test_sections_are_numbered_in_order():
    numbers = [tuple(map(int, number.split("."))) for number in headings()]
    chapters = [number for number in numbers if len(number) == 1]
    assert chapters == [(place,) for place in range(1, len(chapters) + 1)]
    for chapter in chapters:
        inner = [number[1] for number in numbers if len(number) == 2 and number[0] == chapter[0]]
        assert inner == list(range(1, len(inner) + 1))
    assert numbers == sorted(numbers)


def test_every_section_that_is_named_exists():
    """On the page as a bare number, elsewhere as `docs/protocol.md §3.2`."""
    assert set(re.findall(r"(?<![\w./§])\d{1,2}\.\d(?![\w.])", PAGE)) - {*headings()} == set()
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    files = [*pages, *HOUSE.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]
    texts = {path: " ".join(path.read_text(encoding="utf-8").split()) for path in files}
    cited = {
        (path.relative_to(ROOT).as_posix(), number)
        for path, text in texts.items()
        for numbers in CITED.findall(text)
        for number in re.findall(r"§([\d.]*\d)", numbers)
    }
    assert {one for one in cited if one[1] not in headings()} == set()


def test_every_error_of_the_tree_has_a_row_with_its_status_and_close_code():
    documented = {row[0].strip("`"): row for row in rows(section("4.2"))}
    for kind in tree():
        _, statuses, when, _ = documented[kind.code]
        assert kind.status in [int(number) for number in re.findall(r"\d+", statuses)], kind
        assert kind.close is None or f"closes with {kind.close.code}" in when, kind


def test_every_documented_code_is_one_of_the_code_and_none_is_missing():
    documented = [row[0].strip("`") for row in rows(section("4.2"))]
    known = known_codes()
    assert sorted(documented) == sorted({*documented})
    assert known - {*documented} == set()
    assert {*documented} - known - RESPONSE_ERROR_CODES == set()


def test_codes_inside_of_a_failed_response_are_of_the_closed_list():
    named = set(marked(section("4.3")))
    assert named - RESPONSE_ERROR_CODES == set()


def test_refusals_before_the_upgrade_are_codes_with_their_status():
    documented = {row[0].strip("`"): row[1] for row in rows(section("4.2"))}
    for status, code, _ in rows(section("1.3")):
        assert status in documented[code.strip("`")]


def test_close_frames_are_those_of_the_code():
    documented = {
        (int(code), reason): comes_back.startswith("yes")
        for code, reasons, comes_back in rows(section("1.5"))
        for reason in marked(reasons)
        if " " in reason  # else it is a key of the configuration
    }
    assert documented == close_frames()
    codes = {int(row[0]) for row in rows(section("1.5"))}
    assert codes == {code for code, _ in close_frames()} | OF_AIOHTTP


def test_events_are_those_of_the_tables():
    table, _, passed = section("3.3").partition("Passed on")
    made = [name for row in rows(table) for name in marked(row[0])]
    assert sorted(made) == sorted(made_events())
    passed_on = set(marked(passed)) - {"response.…"}
    assert passed_on == folded_events() - made_events()
    assert (made_events() | passed_on) - openais_events() == set()


def test_frames_are_those_that_the_connection_reads():
    assert set(marked(section("2.1"))) & KINDS == KINDS
    titles = re.findall(r"^### 2\.\d `(response\.\w+)`", PAGE, re.MULTILINE)
    assert sorted(titles) == sorted(KINDS)


def test_fields_of_a_create_are_those_of_the_model():
    documented = [name for row in rows(section("2.2")) for name in marked(row[0])]
    assert sorted(documented) == sorted({*CreateResponse.model_fields, "stream_id"})


def test_codes_of_steering_are_those_of_the_code():
    documented = [row[0].strip("`") for row in rows(section("4.4"))]
    assert sorted(documented) == sorted(steering.MESSAGES)


def test_keys_of_the_response_object_are_those_of_every_snapshot():
    first = section("3.4").partition("Elsewhere")[0]
    named = {name for name in marked(first) if re.fullmatch(r"[a-z_]+", name)}
    snapshot = Envelope("resp_1", "m", 1, conversation="conv_1").snapshot("in_progress")
    assert named == set(snapshot)


def test_limits_and_their_defaults_are_those_of_the_configuration():
    documented = {row[0].strip("`"): row[1] for row in rows(section("5"))}
    usual = Config()
    limits = {name: f"{one:g}" if name != "scope" else one for name, one in usual.limits}
    assert documented.items() >= limits.items()
    others = {name: str(value) for part in (usual.server, usual.store) for name, value in part}
    rest = {name: value for name, value in documented.items() if name not in limits}
    assert rest == {name: others.get(name) for name in rest}


async def test_routes_are_those_of_the_server():
    app = Bridge(Settings(Config()), upstream=Scripted()).app
    served = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.method != "HEAD"
    }
    documented = [name for row in rows(section("7.1")) for name in marked(row[0])]
    assert sorted(documented) == sorted(served)
