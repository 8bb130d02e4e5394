"""A real server on a loopback socket, as the tests of ``server`` start it."""

from server.conftest import serve

__all__ = ["serve"]
