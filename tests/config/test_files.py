"""Files that a configuration names: what is read, and what would hold up its reader."""

import os
import socket
from pathlib import Path

import pytest

from ws_bridge.config import load
from ws_bridge.config.files import read_file
from ws_bridge.errors import ConfigError


def fifo(path):
    os.mkfifo(path)


def socket_file(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def endless(path):
    path.symlink_to("/dev/zero")


def large(path):
    with path.open("wb") as file:
        file.truncate(2**40)  # it takes no room


HOSTILE = {
    fifo: "it is no regular file",
    socket_file: "No such device or address",
    endless: "it is no regular file",
    os.mkdir: "Is a directory",
    large: "it is too large",
}


@pytest.fixture(params=HOSTILE, ids=lambda make: make.__name__)
def hostile(request, tmp_path):
    """A file that is none, or has no end; and why it is not read."""
    path = tmp_path / "file"
    request.param(path)
    return path, HOSTILE[request.param]


def open_files():
    return {one.name for one in Path("/proc/self/fd").iterdir()}


def test_what_is_no_file_of_a_size_is_refused_at_once(hostile):
    path, reason = hostile
    before = open_files()
    with pytest.raises(OSError) as refused:  # noqa: PT011 - its reason is looked at
        read_file(path, 100)
    assert refused.value.strerror == reason
    assert open_files() == before


def test_a_file_is_read_up_to_its_size_through_links(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", 100) == b"x" * 100
    with pytest.raises(OSError, match="it is too large"):
        read_file(tmp_path / "link", 99)
    with pytest.raises(OSError, match="null byte"):
        read_file("a\0b", 99)


def test_no_configuration_holds_up_its_reader(hostile):
    path, reason = hostile
    with pytest.raises(ConfigError, match="cannot be read") as refused:
        load(path, {})
    assert reason in str(refused.value)


def test_no_secret_holds_up_its_reader(hostile, tmp_path):
    path, reason = hostile
    config = tmp_path / "config.toml"
    config.write_text(
        f'[auth]\nkeys_files = ["{path}"]\n[[models]]\nname = "a"\nmodel = "demo/demo"\n'
    )
    with pytest.raises(ConfigError) as refused:
        load(config, {})
    assert f"holds no secret ({reason})" in str(refused.value)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000])
def test_toml_that_its_reader_cannot_take_is_a_problem_of_the_file(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(path, {})
