"""The house rules, read from the source: floors, seams, homes of dependencies, sizes, owned tasks.

Each check is a function of one file's path and text, so that it can be shown to fail. How things
are named is checked in `test_names.py`.
"""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from support.layout import arrows_in_cycles, file_of, imports_between, levels, read_package
from support.sources import imports, syntax

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "ws_bridge"
SOURCES = read_package(HOUSE)
FILES = sorted(SOURCES)

# The rooms, from the lowest floor up: each folder and each module of the root stands on one floor,
# and imports only from floors below its own. There is no exemption.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"__init__.py", "types.py"}),
    frozenset({"errors.py"}),
    frozenset({"clock.py", "config", "pacing.py", "protocol"}),
    frozenset({"logs.py", "stream.py"}),
    frozenset({"store", "upstream"}),
    frozenset({"jobs"}),
    frozenset({"server"}),
    frozenset({"check.py", "processes", "terminal"}),
    frozenset({"cli.py"}),
    frozenset({"__main__.py"}),
)
# What other rooms may import of a room that hides the rest: a seam and its values.
SEAMS = {
    "store": ("store/base.py", "store/conversations.py"),
    "upstream": (
        *("upstream/base.py", "upstream/preload.py", "upstream/prices.py", "upstream/summary.py"),
    ),
    "server": ("server/app.py", "server/stores.py", "server/transport/listener.py"),
}
# These put the parts together, so they name the concrete ones.
COMPOSITION_ROOTS = frozenset({"server/app.py", "server/stores.py", "cli.py"})
# Who knows the configuration; all others get values.
READ_CONFIG = (
    *("cli.py", "logs.py", "processes/*", "server/*"),
    "upstream/model_table.py",
)
# Where a dependency lives.
HOMES: dict[str, tuple[str, ...]] = {
    "aiohttp": ("server/*", "processes/serving.py", "upstream/http/client.py"),
    "botocore": ("upstream/dialects/bedrock/event_stream.py",),
    "cryptography": ("store/redis/cipher.py",),
    # litellm's timeouts, and its streams
    "httpx": ("upstream/litellm/call.py", "upstream/litellm/sse_tap.py"),
    "litellm": ("upstream/litellm/setup.py",),
    "orjson": ("protocol/*", "config/*", "upstream/*", "store/*", "server/*"),
    "prometheus_client": ("server/metrics.py", "processes/metrics_page.py"),
    "prompt_toolkit": ("terminal/*",),
    "pydantic": ("protocol/*", "config/*"),
    "pydantic_core": ("protocol/*",),
    "pydantic_settings": ("config/environment.py",),
    "redis": ("store/redis/*",),
    "uvloop": ("processes/serving.py",),
    "yarl": ("upstream/http/client.py",),  # aiohttp's addresses
    "websockets": ("terminal/*", "cli.py", "upstream/websocket/connection.py"),
}
# The pure room does not wait, look at the clock, or touch the world.
IMPURE = frozenset(
    """asyncio datetime http io logging multiprocessing os pathlib random select selectors signal
    socket ssl subprocess sys tempfile threading time urllib""".split()
)

MAX_FILE_LINES = 450
MAX_BODY_LINES = 45
SMALL = 30  # a module of so many lines needs no test file of its own
MOST_TESTED_ELSEWHERE = 20  # modules; the number only shrinks

# Modules whose truths are proved in another file than their own.
TESTED_IN = {
    "__main__.py": "test_cli.py",  # one call
    "terminal/*.py": "terminal/test_terminal.py",  # one program, tested as one
    "protocol/actions.py": "protocol/test_connection.py",  # values
    "protocol/output/tool_arguments.py": "protocol/output/test_chat.py",  # parts of the translator
    "protocol/output/tool_calls.py": "protocol/output/test_chat.py",
    "protocol/output/items.py": "protocol/output/test_chat.py",
    "protocol/output/messages.py": "protocol/output/test_chat.py",
    "processes/*.py": "processes/test_workers.py",  # parts of each serving process
    "jobs/observe.py": "jobs/test_job.py",  # values
    "store/base.py": "store/contract.py",  # the seam, proved by every implementation
    "server/transport/listener.py": "server/transport/test_transport.py",  # parts of one thing
    "upstream/litellm/demo_rules.py": "upstream/litellm/test_demo.py",
    "upstream/litellm/setup.py": "upstream/litellm/test_client.py",
}


# The checks: what is wrong with a file


def floors(file: str, source: str) -> Iterator[str]:
    """Imports that go up, or to a neighbour on the same floor."""
    own = floor_of(file)
    for target in targets(file, source):
        if room_of(target) != room_of(file) and floor_of(target) >= own:
            yield f"{file} may not import {target}: it stands no lower"


def seams(file: str, source: str) -> Iterator[str]:
    """Imports past a seam, and of the configuration where values would do."""
    for target in targets(file, source):
        room = room_of(target)
        is_public = room not in SEAMS or target in SEAMS[room] or file in COMPOSITION_ROOTS
        if room != room_of(file) and not is_public:
            yield f"{file} may not import {target}: {room} shows {SEAMS[room]}"
        if room == "config" != room_of(file) and not any(fnmatch(file, one) for one in READ_CONFIG):
            yield f"{file} may not import {target}: it gets values"


def homes_of_dependencies(file: str, source: str) -> Iterator[str]:
    """Third parties outside of their home; the world in the pure room."""
    for module in imports(source, HOUSE.parent):
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names:
            if file.startswith("protocol/") and top in IMPURE:
                yield f"{file} is pure and may not import {module}"
        elif top != "ws_bridge" and not any(fnmatch(file, home) for home in HOMES.get(top, ())):
            yield f"{file} is no home of {module}"


def sizes(file: str, source: str) -> Iterator[str]:
    """Long files, long functions."""
    if (lines := source.count("\n")) > MAX_FILE_LINES:
        yield f"{file} has {lines} lines"
    for node in ast.walk(syntax(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = (node.end_lineno or 0) - node.body[0].lineno + 1
            if body > MAX_BODY_LINES:
                yield f"{file}: {node.name} has a body of {body} lines"


def docstrings(file: str, source: str) -> Iterator[str]:
    """Modules that do not say what they are."""
    if source.strip() and not ast.get_docstring(syntax(source)):
        yield f"{file} has no docstring"


def owners_of_tasks(file: str, source: str) -> Iterator[str]:
    """Tasks that are started and let go; a task group owns its own."""
    tree = syntax(source)
    groups = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name) and "TaskGroup" in ast.dump(item.context_expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            if getattr(getattr(called, "value", None), "id", None) in groups:
                continue
            name = getattr(called, "attr", getattr(called, "id", ""))
            if name in ("create_task", "ensure_future"):
                yield f"{file}:{node.lineno} starts a task that nobody owns"


def missing_tests(file: str, source: str) -> Iterator[str]:
    """Modules without their test file."""
    if source.count("\n") <= SMALL:
        return
    if not (ROOT / "tests" / proof_of(file)).exists():
        yield f"{file} has no tests/{proof_of(file)}"


def own_test_of(file: str) -> str:
    """The test file that mirrors a module."""
    folder, _, name = file.rpartition("/")
    return f"{folder}/test_{name}".lstrip("/")


def proof_of(file: str) -> str:
    """The test file in which a module is proved: its own, or another one with a reason."""
    own = own_test_of(file)
    exempt = (test for module, test in TESTED_IN.items() if fnmatch(file, module))
    return own if (ROOT / "tests" / own).exists() else next(exempt, own)


def targets(file: str, source: str) -> Iterator[str]:
    """The files of the house that a file imports, its own not."""
    for module in imports(source, HOUSE.parent):
        target = file_of(module, HOUSE.name, FILES)
        if target not in (None, file):
            yield target


def room_of(file: str) -> str:
    """The folder of the house that a file stands in, or the file itself."""
    return file.partition("/")[0]


def floor_of(file: str) -> int:
    """How high a file stands."""
    room = room_of(file)
    return next(height for height, rooms in enumerate(FLOORS) if room in rooms)


CHECKS = (floors, seams, homes_of_dependencies, sizes, docstrings, owners_of_tasks, missing_tests)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_house_keeps_its_rules(check):
    problems = [problem for file in FILES for problem in check(file, SOURCES[file])]
    assert problems == []


def test_every_room_stands_on_one_floor():
    assert sorted(room for rooms in FLOORS for room in rooms) == sorted(set(map(room_of, FILES)))


def test_neighbours_do_not_import_each_other_around():
    """Neighbours are the modules and folders of one folder; a folder is one with its content."""
    found = {
        (level, *arrow)
        for level, arrows in levels(imports_between(SOURCES, HOUSE)).items()
        for arrow in arrows_in_cycles(arrows)
    }
    assert found == set()


def test_few_modules_are_tested_in_another_file_than_their_own():
    elsewhere = [
        file
        for file, source in SOURCES.items()
        if source.count("\n") > SMALL and proof_of(file) != own_test_of(file)
    ]
    assert len(elsewhere) <= MOST_TESTED_ELSEWHERE, elsewhere


def test_the_house_is_not_empty():
    assert {"protocol/connection.py", "server/app.py", "store/memory.py"} <= set(FILES)


LONG_BODY = "def f():\n" + "    x = 1\n" * (MAX_BODY_LINES + 1)


@pytest.mark.parametrize(
    ("check", "file", "source"),
    [
        (floors, "protocol/new.py", "from ws_bridge.stream import Stream"),
        (floors, "protocol/new.py", "from ws_bridge.config import Config"),
        (floors, "errors.py", "import ws_bridge.protocol.events"),
        (floors, "stream.py", "from ws_bridge.store.base import Store"),
        (floors, "stream.py", "from ws_bridge.jobs import mirror"),
        (floors, "upstream/new.py", "from ws_bridge.store.base import Store"),
        (floors, "protocol/new.py", "from ws_bridge.pacing import aside"),
        (seams, "upstream/new.py", "from ws_bridge.config import Config"),
        (seams, "jobs/new.py", "from ws_bridge import config"),
        (floors, "store/new.py", "from ws_bridge.upstream.base import Target"),
        (floors, "store/new.py", "def f():\n    import ws_bridge.jobs.job"),
        (seams, "jobs/registry.py", "from ws_bridge.store.memory import MemoryStore"),
        (seams, "jobs/job.py", "from ws_bridge.upstream import fallbacks"),
        (floors, "jobs/mirror.py", "from ws_bridge.server.http.sse import follow"),
        (seams, "server/new.py", "from ws_bridge.store.memory import MemoryStore"),
        (seams, "server/new.py", "from ws_bridge.upstream.model_table import ModelTable"),
        (seams, "server/new.py", "from ws_bridge.upstream.litellm.client import open_stream"),
        (seams, "processes/new.py", "from ws_bridge.server.quotas import Quotas"),
        (floors, "server/app.py", "from ws_bridge.cli import main"),
        (seams, "check.py", "from ws_bridge.store.memory import MemoryStore"),
        (homes_of_dependencies, "jobs/registry.py", "import aiohttp"),
        (homes_of_dependencies, "upstream/litellm/upstream.py", "from litellm.utils import x"),
        (homes_of_dependencies, "server/http/responses.py", "import litellm"),
        (homes_of_dependencies, "server/app.py", "import websockets.asyncio.client"),
        (homes_of_dependencies, "server/app.py", "from prometheus_client import Counter"),
        (homes_of_dependencies, "jobs/registry.py", "import orjson"),
        (homes_of_dependencies, "cli.py", "import requests"),
        (homes_of_dependencies, "protocol/new.py", "import asyncio"),
        (homes_of_dependencies, "protocol/new.py", "def f():\n    from time import time"),
        (sizes, "new.py", "x = 1\n" * (MAX_FILE_LINES + 1)),
        (sizes, "new.py", LONG_BODY),
        (sizes, "new.py", "async " + LONG_BODY),
        (docstrings, "new.py", "x = 1\n"),
        (owners_of_tasks, "new.py", "asyncio.create_task(f())"),
        (owners_of_tasks, "new.py", "def f(group):\n    loop.create_task(g())"),
        (owners_of_tasks, "new.py", "asyncio.ensure_future(f())"),
        (missing_tests, "new.py", "x = 1\n" * (SMALL + 1)),
        (missing_tests, "server/new.py", "x = 1\n" * (SMALL + 1)),
    ],
)
def test_each_rule_is_one_that_can_be_broken(check, file, source):
    assert len(list(check(file, source))) == 1


@pytest.mark.parametrize(
    ("check", "file", "source"),
    [
        (floors, "protocol/new.py", "from ws_bridge.errors import BridgeError\nimport re"),
        (floors, "jobs/registry.py", "from ws_bridge.store.base import Store"),
        (floors, "protocol/output/new.py", "from ws_bridge.protocol import events"),
        (seams, "jobs/registry.py", "from ws_bridge.store.base import Store"),
        (seams, "server/app.py", "from ws_bridge.store.memory import MemoryStore"),
        (seams, "server/new.py", "from ws_bridge.config import Config"),
        (seams, "store/new.py", "from ws_bridge.store.redis.codec import Codec"),
        (floors, "cli.py", "from ws_bridge import __version__, check"),
        (homes_of_dependencies, "protocol/new.py", "import orjson, re"),
        (sizes, "new.py", "x = 1\n" * MAX_FILE_LINES),
        (docstrings, "new.py", '"""What it is."""\n'),
        (docstrings, "py.typed.py", ""),
        (owners_of_tasks, "new.py", "task = asyncio.create_task(f())"),
        (owners_of_tasks, "new.py", "tasks.add(asyncio.create_task(f()))"),
        (missing_tests, "new.py", "x = 1\n" * SMALL),
    ],
)
def test_what_keeps_a_rule_breaks_none(check, file, source):
    assert list(check(file, source)) == []


@pytest.mark.parametrize(("own", "test"), TESTED_IN.items())
def test_an_exemption_is_needed_and_names_a_test_that_exists(own, test):
    modules = [file for file in FILES if fnmatch(file, own)]
    assert [file for file in modules if proof_of(file) == test != own_test_of(file)]
    assert (ROOT / "tests" / test).exists()
