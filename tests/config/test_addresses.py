"""The addresses of `[server] listen`, as text and as values."""

import pytest

from ws_bridge.config.addresses import ListenAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8787", ListenAddress("0.0.0.0", 8787)),  # noqa: S104 - the point of it
        ("[::1]:0", ListenAddress("::1", 0)),
        ("[fe80::1%eth0]:1", ListenAddress("fe80::1%eth0", 1)),
        ("bridge.example:80", ListenAddress("bridge.example", 80)),
        ("unix:/run/x.sock", ListenAddress("", 0, "/run/x.sock")),
    ],
)
def test_an_address_is_read_and_written(text, address):
    assert parse_address(text) == address
    assert str(address) == text
