"""The file that `ws-bridge init` writes."""

import re
import tomllib
from pathlib import Path

import pytest

from ws_bridge.config import Config, load
from ws_bridge.config.example import example, write_example
from ws_bridge.config.model import KeyEntry
from ws_bridge.errors import ConfigError

ROOT = Path(__file__).parents[2]
FILE = (ROOT / "config.toml").read_text(encoding="utf-8")


def test_it_sets_nothing_but_models(tmp_path):
    """So that defaults hold, those of a later release and of a small container too."""
    path = tmp_path / "config.toml"
    write_example(path, overwrites=False)
    config = load(path, {}).config
    assert config == Config(models=config.models)
    assert [entry.name for entry in config.models if not entry.off_reason({})] == ["demo"]
    assert config.limits.model_fields_set == set()


def test_without_its_comment_marks_it_is_the_file_with_every_key():
    assert re.sub(r"^#(?=\w+ = )", "", example(), flags=re.MULTILINE) == FILE
    assert {*tomllib.loads(FILE), "keys"} == set(Config.model_fields)


def test_it_shows_an_entry_of_keys_with_every_key_as_a_comment():
    """It would ask everybody for a key if it were one."""
    found = re.search(r"^# \[\[keys\]\]\n(?:# .*\n)+", FILE, re.MULTILINE)
    (entry,) = tomllib.loads(re.sub("^# ", "", found[0], flags=re.MULTILINE))["keys"]
    assert set(entry) == set(KeyEntry.model_fields)


def test_the_wheel_carries_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["config.toml"] == "ws_bridge/config.toml"


def test_a_file_that_is_there_is_replaced_only_if_asked(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is there already: name another file, or use --force"):
        write_example(path, overwrites=False)
    assert path.read_text() == "mine"
    write_example(path, overwrites=True)
    assert path.read_text(encoding="utf-8") == example()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be written \(No such file or directory\)"):
        write_example(tmp_path / "none" / "config.toml", overwrites=False)
