"""How much memory a server may take, and the bounds that fit into a container."""

import re
from pathlib import Path

import pytest

from ws_bridge import cli
from ws_bridge.config import Config, Settings, load, memory
from ws_bridge.config.memory import (
    ALONE_MIB,
    MIB,
    SHARE,
    container_limit,
    fitted,
    memory_sum,
    most_held,
)


def config(**limits) -> Config:
    return Config.model_validate({"limits": limits}, strict=False)


def test_what_a_process_may_hold_is_the_sum_of_its_limits():
    usual = {name: size // MIB for name, size in most_held(config()).items()}
    assert usual == {
        "asked_mib": 1024,
        "receiving_mib": 256 + 2 * 64,
        "cached_mib": 512,
        "responses_mib": 2 * 1024,
        "followers": 400,
        "backlog_mib": 256,
        "max_mib": 640,
    }


def test_one_alone_may_be_larger_than_the_limit_of_all():
    assert most_held(config(asked_mib=64))["asked_mib"] == (64 // 8 + 5 * 64) * MIB
    shared = Config.model_validate({"store": {"url": "redis://h"}})
    assert most_held(shared)["max_mib"] == 0


# Fitted


@pytest.mark.parametrize(
    ("mib", "workers"), [(512, 1), (768, 2), (1024, 1), (1024, 2), (2048, 4), (4096, 2)]
)
def test_the_defaults_fit_into_the_container(mib, workers):
    """All processes with all that they may hold; and most of the room is used."""
    wanted = Config.model_validate({"server": {"workers": workers}, "store": {"url": "redis://a"}})
    found = memory_sum(fitted(wanted, mib * MIB), mib * MIB)
    assert found.fits
    assert found.bounds > 0.6 * SHARE * (mib - found.base)


def test_without_a_limit_or_with_room_nothing_changes():
    assert fitted(config(), None) == config()
    assert fitted(config(), 16 * 2**30) == config()


def test_what_the_operator_has_set_stays(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[limits]\nasked_mib = 900\n[[models]]\nname = 'm'\nmodel = 'openai/m'\n")
    given = load(path, {"WS_BRIDGE__STORE__BACKLOG_MIB": "250"}).config
    small = fitted(given, 512 * MIB)
    assert (small.limits.asked_mib, small.store.backlog_mib) == (900, 250)
    assert small.limits.cached_mib < 512
    found = memory_sum(small, 512 * MIB)
    assert (found.limit, found.base, found.fits) == (512, ALONE_MIB, False)


def test_a_response_is_no_larger_than_all_together():
    small = fitted(config(), 512 * MIB).limits
    assert small.response_mib == small.responses_mib < 128
    assert fitted(config(response_mib=128), 512 * MIB).limits.response_mib == 128


def test_a_container_that_holds_no_server_has_the_least_bounds():
    """They are of use still, and the sum is told as too large."""
    least = fitted(config(), 300 * MIB)
    assert (least.limits.asked_mib, least.server.max_message_mib) == (16, 4)
    assert not memory_sum(least, 300 * MIB).fits


PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_pages_table_has_what_the_defaults_become():
    rows = re.findall(r"^\| (\d+) ([MG])iB \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 10
    for size, unit, cells in rows:
        workers, largest, asked, cached, receiving, followers = map(int, cells.split(" | "))
        shared = {"server": {"workers": workers}, "store": {"url": "redis://a"}}
        limit = int(size) * MIB * (1024 if unit == "G" else 1)
        bounds = fitted(Config.model_validate(shared), limit)
        limits, backlog = bounds.limits, bounds.store.backlog_mib
        assert bounds.server.max_message_mib == largest
        assert (limits.asked_mib, limits.responses_mib, limits.cached_mib) == (asked, asked, cached)
        assert (limits.receiving_mib, backlog, limits.followers) == (
            receiving,
            receiving,
            followers,
        )


@pytest.mark.parametrize(("mib", "level", "end"), [(512, "INFO", "0"), (300, "WARNING", "server")])
def test_the_start_says_what_the_container_holds(caplog, monkeypatch, mib, level, end):
    limit = mib * MIB
    monkeypatch.setattr(memory, "container_limit", lambda: limit)
    caplog.set_level("INFO", "ws_bridge")
    shared = Config.model_validate({"store": {"url": "redis://a"}})
    cli._log_memory(Settings(fitted(shared, limit)))
    (line,) = caplog.records
    assert line.levelname == level
    start = f"memory_bounds limit_mib={mib} needed_mib="
    assert line.getMessage().startswith(start)
    assert line.getMessage().endswith(end)


# The container's limit


@pytest.fixture
def machine(tmp_path):
    """Writes the files of a machine; the limit that is read off them."""

    def read(cgroup, **files):
        (tmp_path / "self").mkdir()
        (tmp_path / "self" / "cgroup").write_text(cgroup)
        for path, text in files.items():
            file = tmp_path / "fs" / path.replace("__", "/").replace("_IN_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return container_limit(tmp_path / "fs", tmp_path)

    return read


def test_of_version_2_the_smallest_limit_around_counts(machine):
    files = {
        "memory_IN_max": "max\n",
        "a__memory_IN_max": "1000\n",
        "a__b__memory_IN_max": "2000\n",
    }
    assert machine("0::/a/b\n", **files) == 1000


def test_of_version_1_the_group_of_the_memory_counts(machine):
    files = {
        "memory__x__memory_IN_limit_in_bytes": "5000\n",
        "memory__memory_IN_limit_in_bytes": "9223372036854771712\n",
    }
    assert machine("4:cpu,memory:/x\n1:cpu:/y\n0::/\n", **files) == 5000


def test_in_a_container_the_path_is_the_hosts(machine):
    files = {"memory__memory_IN_limit_in_bytes": "7000\n"}
    assert machine("4:memory:/docker/0123\n", **files) == 7000


def test_without_a_limit_there_is_none(machine, tmp_path):
    assert container_limit(tmp_path, tmp_path) is None
    assert machine("0::/\n", memory_IN_max="max\n") is None
