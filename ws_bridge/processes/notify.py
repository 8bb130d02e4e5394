"""What a server tells the service manager that started it: systemd's `sd_notify` protocol.

These few lines stand in the place of a library: of those on PyPI, one has had no release since
2017 and knows no reloads, and the others bind libsystemd, which has to be on the machine.

Rule 1: the manager hears of this process only: what it starts does not inherit the address.
Rule 2: nothing is said of a reload before the server was ready, and nothing at all after its stop
began. A manager that cannot be reached is one warning, and no fault of the server.
"""

from __future__ import annotations

import logging
import os
import socket
import time

VARIABLE = "NOTIFY_SOCKET"
SEND_SECONDS = 1.0  # for a manager that does not read; the event loop waits meanwhile

log = logging.getLogger(__name__)


class Notifier:
    """Sends the states of a server to ``address``, a UNIX socket; "" is none (no manager asks)."""

    def __init__(self, address: str = "") -> None:
        self._address = address
        self._is_ready = False

    def ready(self) -> None:
        """Say that it serves, once."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")

    def reloading(self) -> None:
        """Say that a reload begins; ``Type=notify-reload`` wants the time, in microseconds."""
        if self._is_ready:
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Say that a reload has ended, whatever came of it."""
        if self._is_ready:
            self._send("READY=1")

    def stopping(self) -> None:
        """Say that it leaves, and nothing more after that."""
        self._send("STOPPING=1")
        self._address = ""

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # An abstract address begins with a zero byte, for which the variable has an @.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.settimeout(SEND_SECONDS)
                sending.sendto(message.encode(), address)
        except OSError as failure:
            log.warning("notify_failed reason=%s", failure.strerror or "it does not read")


def from_environment() -> Notifier:
    """Make the notifier of this process, and take its address out of the environment."""
    return Notifier(os.environ.pop(VARIABLE, ""))
