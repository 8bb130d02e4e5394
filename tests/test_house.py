"""The house rules, read from the source: floors, homes of dependencies, sizes, owners of tasks.

Each check is a function of one file's path and text, so that it can be shown to fail.
"""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from sources import imports

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "ws_bridge"
FILES = sorted(path.relative_to(HOUSE).as_posix() for path in HOUSE.rglob("*.py"))

# Who may import what of the house: the first pattern that fits a file decides.
PURE = ("protocol.*", "errors", "types")
LEAVES = ("clock", "pacing", "stream")
BELOW = (
    *PURE,
    *LEAVES,
    "config",
    "upstream.base",
    "upstream.summary",
    "store.base",
    "store.conversations",
)
ANYTHING = ("*",)
FLOORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("types.py", ()),
    ("errors.py", ("types",)),
    ("clock.py", ()),
    ("pacing.py", ()),
    ("config.py", ("errors",)),
    ("protocol/*", PURE),
    ("stream.py", PURE),
    ("upstream/base.py", (*PURE, "config")),
    ("upstream/profiles.py", ()),
    ("upstream/dialects/*", (*PURE, "upstream.dialects.*")),
    ("upstream/model_table.py", (*PURE, "config", "upstream.*")),
    ("upstream/*", (*PURE, *LEAVES, "upstream.*")),
    ("store/*", (*PURE, *LEAVES, "store.*")),
    ("jobs/*", (*BELOW, "jobs.*")),
    ("server/app.py", (*BELOW, "jobs.*", "server.*", "upstream.*", "store.*")),
    ("server/*", (*BELOW, "jobs.*", "server.*")),
    ("terminal/*", ANYTHING),
    ("processes/*", ANYTHING),
    ("*", ANYTHING),
)
# Concrete rooms that only these may name, whatever the floors say.
CONCRETE = {
    "server.app": ("processes/serving.py",),
    "store.memory": ("server/app.py",),
    "store.redis.store": ("server/app.py",),
    "upstream.litellm.client": ("upstream/*",),
}

# Where a dependency lives.
HOMES: dict[str, tuple[str, ...]] = {
    "aiohttp": ("server/*", "processes/serving.py"),
    "cryptography": ("store/redis/cipher.py",),
    # litellm's timeouts, and its streams
    "httpx": ("upstream/litellm/call.py", "upstream/litellm/tap.py"),
    "litellm": ("upstream/litellm/setup.py",),
    "orjson": ("protocol/*", "config.py", "upstream/*", "store/*", "server/*"),
    "prometheus_client": ("server/metrics.py",),
    "prompt_toolkit": ("terminal/*",),
    "pydantic": ("protocol/*", "config.py"),
    "pydantic_core": ("protocol/*", "config.py"),
    "redis": ("store/redis/*",),
    "uvloop": ("processes/serving.py",),
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
    "server/transport/*.py": "server/transport/test_transport.py",  # one thing, tested as one
    "upstream/base.py": "upstream/litellm/test_upstream.py",
    "upstream/litellm/demo_rules.py": "upstream/litellm/test_demo.py",
    "upstream/dialects/*.py": "upstream/dialects/test_dialects.py",
    "upstream/litellm/setup.py": "upstream/litellm/test_client.py",
}


# The checks: what is wrong with a file


def floors(file: str, source: str) -> Iterator[str]:
    """Imports that go up, or sideways."""
    own = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    allowed = next(names for pattern, names in FLOORS if fnmatch(file, pattern))
    for module in imports(source, HOUSE.parent):
        room = module.removeprefix("ws_bridge").lstrip(".")
        if not module.startswith("ws_bridge") or room in ("", "__version__", own):
            continue
        homes = CONCRETE.get(room, ("*",))
        is_allowed = any(fits(room, name) for name in allowed)
        if not is_allowed or not any(fnmatch(file, home) for home in homes):
            yield f"{file} may not import {module}"


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
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = (node.end_lineno or 0) - node.body[0].lineno + 1
            if body > MAX_BODY_LINES:
                yield f"{file}: {node.name} has a body of {body} lines"


def docstrings(file: str, source: str) -> Iterator[str]:
    """Modules that do not say what they are."""
    if source.strip() and not ast.get_docstring(ast.parse(source)):
        yield f"{file} has no docstring"


def owners_of_tasks(file: str, source: str) -> Iterator[str]:
    """Tasks that are started and let go; a task group owns its own."""
    tree = ast.parse(source)
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
    folder, _, name = file.rpartition("/")
    mirrored = f"{folder}/test_{name}".lstrip("/")
    elsewhere = next((test for own, test in TESTED_IN.items() if fnmatch(file, own)), mirrored)
    if not (ROOT / "tests" / elsewhere).exists():
        yield f"{file} has no tests/{elsewhere}"


def fits(room: str, name: str) -> bool:
    """Whether an import of ``room`` is covered: a package's own name is covered by its content."""
    return fnmatch(room, name) or (name.endswith(".*") and room == name.removesuffix(".*"))


CHECKS = (floors, homes_of_dependencies, sizes, docstrings, owners_of_tasks, missing_tests)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_house_keeps_its_rules(check):
    problems = [problem for file in FILES for problem in check(file, (HOUSE / file).read_text())]
    assert problems == []


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
        (floors, "upstream/new.py", "from ws_bridge.config import Config"),
        (floors, "upstream/base.py", "from ws_bridge.upstream.model_table import ModelTable"),
        (floors, "upstream/profiles.py", "from ws_bridge.upstream.base import Target"),
        (floors, "upstream/dialects/new.py", "from ws_bridge.upstream.profiles import profile_of"),
        (floors, "store/new.py", "from ws_bridge.upstream.base import Target"),
        (floors, "store/new.py", "def f():\n    import ws_bridge.jobs.job"),
        (floors, "jobs/registry.py", "from ws_bridge.store.memory import MemoryStore"),
        (floors, "jobs/job.py", "from ws_bridge.upstream import fallbacks"),
        (floors, "jobs/mirror.py", "from ws_bridge.server.http.sse import follow"),
        (floors, "server/new.py", "from ws_bridge.store.memory import MemoryStore"),
        (floors, "server/new.py", "from ws_bridge.upstream.model_table import ModelTable"),
        (floors, "server/app.py", "from ws_bridge.upstream.litellm.client import register"),
        (floors, "server/app.py", "from ws_bridge.cli import main"),
        (floors, "check.py", "from ws_bridge.store.memory import MemoryStore"),
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
        (floors, "server/app.py", "from ws_bridge.store.memory import MemoryStore"),
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
def test_an_exemption_names_a_module_and_a_test_that_exist(own, test):
    assert any(fnmatch(file, own) for file in FILES)
    assert (ROOT / "tests" / test).exists()
