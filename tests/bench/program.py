"""`tallyd run` as a process of its own, as it is deployed; what it says, and what it costs by the kernel's books."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.bench.stage import HOST

COMMAND = (sys.executable, "-c", "from controller.cli import main; main()")
_PAGE_MEGABYTES = os.sysconf("SC_PAGE_SIZE") / 1e6
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_END_SECONDS = 10.0


class Program:
    """A controller that is running. ``started`` is on the monotonic clock."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._reader: threading.Thread | None = None
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [*COMMAND, "--log-level", "info", "--log-format", "json", "run"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, event: str) -> float:
        """Read its log up to a line; returns the seconds since the process was started.

        :raises RuntimeError: it ended.
        """
        assert self._process.stderr is not None
        said = ""
        for line in self._process.stderr:
            said += line
            if line.startswith("{") and json.loads(line).get("event") == event:
                return time.perf_counter() - self.started
        raise RuntimeError(f"tallyd ended before it said {event!r}: {said}")

    def ignore_log(self) -> None:
        """Read on, so that it never waits for us."""
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reader.start()

    def tick(self) -> None:
        """Force a pass by the command line.

        :raises RuntimeError: it failed.
        """
        command = [*COMMAND, "tick", "--output", "json"]
        done = subprocess.run(command, env=self._environment, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"tallyd tick ended with {done.returncode}: {done.stderr}")

    @property
    def resident_megabytes(self) -> float:
        """Memory that it holds, in MB (10⁶ bytes)."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE_MEGABYTES

    @property
    def cpu_seconds(self) -> float:
        """Time on a core so far, user and system."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not None:
            self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()


def environment_of(endpoint: str, url: str) -> dict[str, str]:
    """All that a controller is told; nothing of the person who measures."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TALLYD_", "DOCKER_"))}
    own = {
        "DOCKER_HOST": endpoint,
        "TALLYD_DATABASE_URL": url,
        "TALLYD_HOST": HOST,
        "TALLYD_LISTEN": "127.0.0.1:0",
        "TALLYD_INTERVAL_SECONDS": "30",
    }
    return kept | own


@contextlib.contextmanager
def running(environment: Mapping[str, str]) -> Iterator[Program]:
    """A controller for the length of a block."""
    program = Program(environment)
    try:
        yield program
    finally:
        program.stop()
