"""wrk, a load generator that never pauses, and its own account of what went wrong."""

from __future__ import annotations

import re
import signal
import subprocess
from dataclasses import dataclass

from tests.harness.components import program_path, require

LONGEST_SECONDS = 3600
ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Account:
    """What wrk counted. ``read`` has requests on kept connections that nginx closed before it took them, too."""

    requests: int
    connect: int
    read: int
    write: int
    timeout: int
    refused: int

    @property
    def lost(self) -> int:
        """All that was no good answer."""
        return self.connect + self.read + self.write + self.timeout + self.refused


class Wrk:
    """One wrk at work from when it is made until `stop`. ``keep``: connections are kept alive; else one a request."""

    def __init__(self, port: int, host: str, *, keep: bool, connections: int) -> None:
        require("wrk")
        headers = [f"Host: {host}", *([] if keep else ["Connection: close"])]
        self._process = subprocess.Popen(
            [
                program_path("wrk"),
                *("--threads", "1", "--connections", str(connections)),
                *("--duration", f"{LONGEST_SECONDS}s", "--timeout", f"{ANSWER_SECONDS}s"),
                *(part for each in headers for part in ("--header", each)),
                f"http://127.0.0.1:{port}/",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stop(self) -> Account:
        """End it; it gives its account."""
        self._process.send_signal(signal.SIGINT)
        told, _ = self._process.communicate(timeout=60)
        return account_of(told)


def account_of(told: str) -> Account:
    """Its account as text. A kind of trouble that did not occur has no line.

    :raises AssertionError: it gave none.
    """
    counted = re.search(r"(\d+) requests in", told)
    assert counted, told
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    troubles = [int(each) for each in errors.groups()] if errors else [0, 0, 0, 0]
    return Account(int(counted[1]), *troubles, int(refused[1]) if refused else 0)
