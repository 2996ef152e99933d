"""Telling systemd how we are: `sd_notify(3)`, a datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from controller.loop.report import TickReport


class Notifier:
    """Says READY after the first pass and feeds the watchdog after every pass that ended, whatever its outcome.

    An engine that is down is no reason to restart the controller; a loop that no longer comes round is.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")

    def tell(self, report: TickReport) -> None:
        """A pass ended."""
        if self._address and not report.targeted:
            told = report.summary if report.complete else f"{report.outcome}: {'; '.join(report.errors)}"
            self._send(f"READY=1\nWATCHDOG=1\nSTATUS={told.replace(chr(10), ' ')}")

    def stopping(self) -> None:
        """We end on purpose."""
        if self._address:
            self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        # An address that begins with @ is in the abstract namespace.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagram:
            try:
                datagram.sendto(message.encode(), address)
            except OSError:
                self._address = ""  # nobody listens any more
