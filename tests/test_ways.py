"""The counts of ways and of the house are what they say, whatever the layout is."""

import asyncio
import importlib.util
import socket
import sys
import textwrap
import threading

import pytest
from ways.field import CHAT
from ways.house import House, told
from ways.measure import CREATE, TO_FOLLOWER, TO_SOCKET, TO_STORE, Size, counted
from ways.recorder import Bytes, Entered, Function, LoopStep, Recorder
from ways.report import listing, table
from ways.way import Way, steady, ways

SMALL = Size(deltas=3, more=3, rounds=2)


async def measured(*, is_shared):
    return {row.name: row async for row in counted([CHAT], SMALL, is_shared=is_shared)}


def ends(row):
    """Between which bytes the way lies."""
    first, *_, last = row.steady.way.happened
    return (first.direction, first.peer), (last.direction, last.peer)


async def test_a_create_goes_from_the_socket_to_the_provider_and_a_delta_back():
    """A delta's way is the same whenever it is counted: each function, in its order and depth."""
    rows, again = [await measured(is_shared=False) for _ in range(2)]
    assert ends(rows[CREATE]) == (("from", "client"), ("to", "provider"))
    assert ends(rows[TO_SOCKET]) == (("from", "provider"), ("to", "client"))
    create, delta = rows[CREATE].steady.way, rows[TO_SOCKET].steady.way
    for way in (create, delta):
        assert 0 < len(way.files) <= way.calls < way.all_calls
        assert 0 < way.depth <= way.calls + way.resumptions
        assert way.loop_steps > 0
    assert create.calls > delta.calls
    assert set(create.files) - set(delta.files)
    # Timers may fall in the shorter stream only, but hardly twice.
    assert max(rows[TO_SOCKET].whole, again[TO_SOCKET].whole) > delta.calls / 2
    assert rows[TO_SOCKET].steady.count == 2 * (SMALL.deltas - 1 + SMALL.deltas + SMALL.more - 1)
    assert again[TO_SOCKET].steady.way.entered == delta.entered


async def test_a_delta_goes_through_the_store_to_a_follower_elsewhere():
    """What is written and what is read are counted apart, each in its own bridge."""
    rows = await measured(is_shared=True)
    assert ends(rows[TO_STORE]) == (("from", "provider"), ("to", "store"))
    assert ends(rows[TO_FOLLOWER]) == (("from", "store"), ("to", "client"))
    assert rows[TO_STORE].steady.way.calls > 0
    assert rows[TO_FOLLOWER].steady.way.calls > 0
    assert table(list(rows.values())).count("\n") == 2 + len(rows)
    shown = listing(rows[TO_STORE])
    assert shown.index("<- provider") < shown.index("-> store")
    assert all(file in shown for file in rows[TO_STORE].steady.way.files)


INVENTED = """
    import asyncio

    class Sender:
        def send(self, line, words):
            line.send(b"".join([one(word) for word in words]))

    def one(word):
        return word

    async def words():
        yield b"a"
        await asyncio.sleep(0)
        yield b"b"

    async def answer(line):
        line.recv(1)
        async for word in words():
            Sender().send(line, [word, word])
"""


def test_calls_resumptions_depth_and_generators_are_counted_apart(tmp_path):
    """Of an invented file; a comprehension is no call, and what is no file of it is not entered."""
    path = tmp_path / "invented.py"
    path.write_text(textwrap.dedent(INVENTED))
    spec = importlib.util.spec_from_file_location("invented", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    line, other = socket.socketpair()
    with line, other:
        other.send(b"?")
        recorder = Recorder(tmp_path, lambda end: "line" if end is line else "other")
        thread = threading.Thread(target=_recorded, args=(recorder, module.answer(line)))
        thread.start()
        thread.join()
    assert [_shown(each) for each in recorder.happened if isinstance(each, Entered)] == [
        "1 answer",
        "2 words",
        "2 Sender.send",
        "3 one",
        "3 one",
        "2 words~",
        "1 answer~",
        "2 words~",
        "2 Sender.send",
        "3 one",
        "3 one",
        "2 words~",
    ]
    moved = [each for each in recorder.taken() if isinstance(each, Bytes) and each.peer == "line"]
    assert [each.direction for each in moved] == ["from", "to", "to"]
    assert recorder.happened == []


def _recorded(recorder, coroutine):
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.get_loop().call_soon(sys.setprofile, recorder)
        runner.run(coroutine)
        sys.setprofile(None)


def _shown(entered):
    return f"{entered.depth} {entered.function.name}{'~' if entered.is_resumed else ''}"


def entered(name, depth=1, *, is_resumed=False):
    return Entered(Function(f"{name}.py", name, name == "stream"), depth, is_resumed)


IN, OUT = Bytes("from", "provider", 10), Bytes("to", "client", 25)


def test_a_way_lies_between_the_last_bytes_that_came_and_the_first_that_left():
    happened = [OUT, IN, entered("old"), IN, entered("a"), OUT, entered("late"), OUT, IN]
    (way,) = ways(happened, "provider", "client")
    assert way == Way((IN, entered("a"), OUT), 15)


def test_the_figures_of_a_way():
    a, b, again = entered("a"), entered("stream", 2), entered("a", is_resumed=True)
    way = Way((IN, LoopStep(), LoopStep(), a, b, b, LoopStep(), again, OUT), 15)
    assert way.files == ["a.py", "stream.py"]
    assert (way.calls, way.resumptions, way.depth) == (3, 1, 2)
    assert (way.async_generators, way.loop_steps) == (1, 2)


def test_a_timer_that_runs_out_amid_a_way_is_not_in_the_steady_one():
    usual, disturbed = Way((entered("a"),), 1), Way((entered("a"), entered("timer")), 2)
    found = steady([disturbed, usual, usual])
    assert (found.way, found.alike, found.count) == (usual, 2, 3)


def test_a_way_that_was_never_taken_has_no_figures():
    with pytest.raises(LookupError):
        steady([])


TREE = {
    "__init__.py": "",
    "__main__.py": "from house.high import Top\n",
    "high/__init__.py": "",
    "high/top.py": "from house.middle import left\nimport house.low.base\nclass Top:\n    pass\n",
    "middle/__init__.py": "",
    "middle/left.py": "from house.side import Right\nclass Top:\n    def close(self): ...\n",
    "side.py": "def f():\n    import house.middle.left\nclass Right:\n    def close(self): ...\n",
    "low/__init__.py": "VALUE = 1\n",
    "low/base.py": "import json\n",
    "low/deep/__init__.py": "from house.low import base\n",
    "other.py": "from house.low import VALUE\n",
}


@pytest.fixture
def house(tmp_path):
    for file, source in TREE.items():
        path = tmp_path / "house" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    tests = tmp_path / "tests"
    (tests / "low").mkdir(parents=True)
    (tests / "low" / "test_base.py").touch()
    (tests / "test_other.py").touch()
    return House.of(tmp_path / "house", tests)


def test_the_rooms_of_an_invented_house(house):
    """Folders and root modules; a cycle is one floor; a name of a package leads to the package."""
    outer = ["__main__.py", "high", "low", "middle", "other.py", "side.py"]
    assert (house.outer_rooms, house.rooms) == (outer, sorted([*outer, "low/deep"]))
    assert house.outer_arrows == [arrow for arrow in house.arrows if arrow[0] != "low/deep"]
    assert house.arrows == [
        ("__main__.py", "high"),
        ("high", "low"),
        ("high", "middle"),
        ("low/deep", "low"),
        ("middle", "side.py"),
        ("other.py", "low"),
        ("side.py", "middle"),
    ]
    assert house.cycles == [["middle", "side.py"]]
    assert house.arrows_up == [("middle", "side.py"), ("side.py", "middle")]
    assert house.floors == 3


def test_the_names_and_files_of_an_invented_house(house):
    assert (len(house.files), house.lines) == (11, 16)
    assert house.root_modules == ["__main__.py", "other.py", "side.py"]
    assert house.classes_twice == {"Top": ["high/top.py", "middle/left.py"]}
    assert house.untested == ["high/top.py", "middle/left.py", "side.py"]
    assert house.methods == {"close": 2}
    assert house.longest[0] == (4, "high/top.py")
    shown = told(house)
    assert "| rooms | 7 |" in shown
    assert "- `Top`: high/top.py, middle/left.py" in shown
