"""The `tallyd` console script as people and unit files start it, and what can be asked of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from tests.harness import wait_until

SCRIPT = Path(sysconfig.get_path("scripts")) / "tallyd"
FORKSERVER = Path(__file__).with_name("forkserver.py")
CALL_SECONDS = 60.0
START_SECONDS = 30.0


class Process(Protocol):
    """A started `tallyd`, leader of a process group of its own."""

    pid: int

    def wait(self, timeout: float | None = None) -> int:
        """Exit code; negative is a signal. `subprocess.TimeoutExpired` when it has not ended in time."""

    def poll(self) -> int | None:
        """Exit code, or nothing while it runs."""


class ForkedProcess:
    """A process that the fork server started."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._told = connection.makefile("rb")
        self.pid = int(self._told.readline())
        self._exit_code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self._exit_code is None:
            self._connection.settimeout(timeout)
            try:
                self._exit_code = int(self._told.readline())
            except TimeoutError:
                raise subprocess.TimeoutExpired(str(SCRIPT), timeout or 0.0) from None
            finally:
                # A file over a socket refuses to be read again once a read has timed out.
                if self._exit_code is None:
                    self._told = self._connection.makefile("rb")
            self._connection.close()
            self._told.close()
        return self._exit_code

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.001)
        return None


class Console:
    """Starts the script, by the fork server (fast) or by executing it (just as a person does)."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tallyd-console-")
        self._address = f"{self._folder.name}/forkserver"
        self._server = subprocess.Popen(
            [sys.executable, str(FORKSERVER), self._address], stdin=subprocess.PIPE, start_new_session=True
        )
        self._started: list[Process] = []

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        streams: tuple[int, int, int],
        *,
        executed: bool = False,
    ) -> Process:
        """Start the script with its three standard streams; it is killed at `close` at the latest."""
        argv = [str(SCRIPT), *arguments]
        started: Process
        if executed:
            stdin, stdout, stderr = streams
            started = subprocess.Popen(
                argv,
                env=dict(environment),
                cwd=folder,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        else:
            order = {"argv": argv, "environment": dict(environment), "folder": str(folder)}
            connection = wait_until(self._connection, START_SECONDS, "the fork server answers")
            socket.send_fds(connection, [json.dumps(order).encode()], list(streams))
            started = ForkedProcess(connection)
        self._started.append(started)
        return started

    def close(self) -> None:
        """Kill what was started and still runs, and the server."""
        for each in self._started:
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGKILL)
                each.wait(10)
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(10)
        self._folder.cleanup()

    def _connection(self) -> socket.socket | None:
        assert self._server.poll() is None, "the fork server has ended"
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            return None
        return connection


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    arguments: Sequence[str]
    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The data on stdout, which is all JSON."""
        return json.loads(self.stdout)

    def expect(self, exit_code: int = 0) -> Finished:
        """Itself, if it ended with this code and without a traceback."""
        assert self.exit_code == exit_code, self
        assert "Traceback" not in self.stderr + self.stdout, self
        return self


@dataclass
class Tallyd:
    """`tallyd` with the settings of one test: its engine, its store, its host."""

    console: Console
    folder: Path
    environment: dict[str, str]

    def with_settings(self, **environment: str | None) -> Tallyd:
        """The same with other environment variables; `None` takes one away."""
        merged = {**self.environment, **environment}
        return Tallyd(self.console, self.folder, {name: value for name, value in merged.items() if value is not None})

    def __call__(self, *arguments: str, stdin: str = "", executed: bool = False) -> Finished:
        """Run one command to its end."""
        with self.started(*arguments, stdin=stdin, executed=executed) as pending:
            return pending()

    @contextlib.contextmanager
    def started(self, *arguments: str, stdin: str = "", executed: bool = False) -> Iterator[Pending]:
        """Start one command; calling what this gives waits for its end."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            files[0].write(stdin.encode())
            files[0].seek(0)
            numbers = (files[0].fileno(), files[1].fileno(), files[2].fileno())
            process = self.console.start(arguments, self.environment, self.folder, numbers, executed=executed)
            yield Pending(arguments, process, [file.fileno() for file in files[1:]])

    def ok(self, *arguments: str, stdin: str = "") -> Finished:
        """Run one command that must succeed."""
        return self(*arguments, stdin=stdin).expect(0)

    def tick(self) -> dict[str, Any]:
        """One complete pass; its report."""
        report: dict[str, Any] = self.ok("tick", "--output", "json").json
        return report

    def ps(self, *arguments: str) -> list[dict[str, Any]]:
        """Rows of the index."""
        rows: list[dict[str, Any]] = self.ok("ps", "--output", "json", *arguments).json
        return rows

    def apply(self, *workloads: Mapping[str, Any]) -> None:
        """Declare workloads."""
        self.ok("workload", "apply", "-f", "-", stdin=yaml.safe_dump({"workloads": list(workloads)}))

    @contextlib.contextmanager
    def running(self, *arguments: str, executed: bool = False) -> Iterator[Controller]:
        """`tallyd run` inside the block; killed after it when it still runs. Its log is shown on failure."""
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".log") as log, Path(os.devnull).open("r+b") as null:
            streams = (null.fileno(), log.fileno(), log.fileno())
            process = self.console.start(
                ("run", *arguments), self.environment, self.folder, streams, executed=executed
            )
            controller = Controller(process, Path(log.name))
            try:
                yield controller
            except BaseException as error:
                error.add_note(f"log of tallyd run:\n{controller.text[-6000:]}")
                raise
            finally:
                controller.kill()


@dataclass(frozen=True)
class Pending:
    """A command that was started."""

    arguments: Sequence[str]
    process: Process
    files: Sequence[int]

    def __call__(self) -> Finished:
        """Wait for its end."""
        exit_code = self.process.wait(CALL_SECONDS)
        stdout, stderr = (os.pread(file, os.fstat(file).st_size, 0).decode() for file in self.files)
        return Finished(self.arguments, exit_code, stdout, stderr)

    def kill(self) -> None:
        """SIGKILL it, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@dataclass(frozen=True)
class Answer:
    """An answer of the HTTP port."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)


@dataclass
class Controller:
    """A running `tallyd run`: its log, its HTTP port, its end."""

    process: Process
    log: Path
    _known_address: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that it has written, stdout and stderr."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{") and line.endswith("}")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        return [line for line in self.lines if line.get("event") == event]

    @property
    def address(self) -> str:
        """The URL of its HTTP port; waits until it is known."""
        if not self._known_address:
            line = wait_until(self._starting, START_SECONDS, "tallyd run tells its address")
            self._known_address.append(line["address"])
        return self._known_address[0]

    def _starting(self) -> dict[str, Any] | None:
        ended = self.process.poll()
        assert ended is None, f"tallyd run ended with {ended}"
        return next(iter(self.logged("starting")), None)

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask the HTTP port; `body` is bytes, or becomes JSON."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, content, dict(headers or {}), method=method)
        if content is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def get(self, path: str) -> Answer:
        """GET."""
        return self.request("GET", path)

    def serving(self) -> bool:
        """Whether the HTTP port answers already."""
        try:
            return self.get("/-/healthy").status == 200
        except OSError:
            return False

    @property
    def ready(self) -> bool:
        """What `/-/ready` says."""
        return self.get("/-/ready").status == 200

    @property
    def healthy(self) -> bool:
        """What `/-/healthy` says."""
        return self.get("/-/healthy").status == 200

    def wait_ready(self, timeout_seconds: float = START_SECONDS) -> Controller:
        """Wait until it is ready."""
        wait_until(self.serving, timeout_seconds, "the HTTP port answers")
        wait_until(lambda: self.ready, timeout_seconds, "/-/ready is green")
        return self

    def wait_not_ready(self, timeout_seconds: float = START_SECONDS) -> list[str]:
        """Wait until readiness is red; why it is."""
        wait_until(lambda: not self.ready, timeout_seconds, "/-/ready is red")
        reasons: list[str] = self.get("/-/ready").json["reasons"]
        return reasons

    def metric(self, sample: str) -> float:
        """The value of one sample, such as `tallyd_ticks_total{outcome="complete"}`; 0 when it is not there."""
        for line in self.get("/metrics").body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    def wait_for_metric(self, sample: str, at_least: float, timeout_seconds: float = START_SECONDS) -> float:
        """Wait until a sample has this value or a higher one."""
        return wait_until(
            lambda: value if (value := self.metric(sample)) >= at_least else 0.0,
            timeout_seconds,
            f"{sample} is {at_least:g}",
        )

    def rows(self, **query: str) -> dict[str, dict[str, Any]]:
        """Rows of the index by id, as the API shows them."""
        suffix = "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
        return {row["id"]: row for row in self.get(f"/api/v1/containers{suffix}").json["items"]}

    def terminate(self, signal_number: int = signal.SIGTERM, timeout_seconds: float = 5.0) -> tuple[int, float]:
        """Ask it to end; its exit code and the seconds it took. It must end on its own before the deadline."""
        began = time.monotonic()
        os.kill(self.process.pid, signal_number)
        return self.process.wait(timeout_seconds), time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


def settings_of(endpoint: str, database_url: str, folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a `tallyd` under test; nothing of the tester's own reaches it."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "DOCKER_HOST": endpoint,
        "TALLYD_HOST": "testhost",
        "TALLYD_DATABASE_URL": database_url,
        "TALLYD_LISTEN": "127.0.0.1:0",
        "TALLYD_LOG_FORMAT": "json",
        **settings,
    }
