"""Compose as a command: `docker compose` where the plugin is installed, else `docker-compose`.

What Compose reads goes in by its standard input, and values go in by its environment: neither stands in its
arguments, which every user of the machine can read, nor in a file. A run is bounded in time and output, and is ended
with all the processes that it started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from controller.errors import EngineActionFailed, EngineCallCancelled, EngineError, EngineNotFound, EngineTimeout

MOST_OUTPUT_BYTES = 8 * 1024 * 1024
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_INSTALLED = "Compose is not installed; install the plugin `docker compose`, or `docker-compose`"
_FIND_SECONDS = 20.0
_POLL_SECONDS = 0.02

_LOCK = threading.Lock()
_FOUND: dict[str, tuple[str, ...]] = {}
"""By the path that was searched. A plugin that is not there costs a run of `docker` to find out."""


@dataclass(frozen=True, slots=True)
class ComposeRun:
    """What Compose is to do: ``arguments`` from the subcommand on, for a project, under a deadline.

    ``document`` is what stands for its file; without one, ``files`` are read, which may be relative to ``directory``.
    ``environment`` holds the values that it puts in; the document and they may be secret, the rest is not.
    ``docker_config`` is the folder of the ``config.json`` with the registries' credentials; empty: the usual one.
    ``ending`` are ids of containers that it may end: so that this is known for ours.
    """

    arguments: Sequence[str]
    project: str
    directory: str
    deadline_seconds: float
    document: bytes | None = None
    files: Sequence[str] = ()
    profiles: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    docker_config: str = ""
    ending: Sequence[str] = ()

    @property
    def flags(self) -> list[str]:
        """What stands before the subcommand."""
        told = ["--project-name", self.project, "--project-directory", self.directory]
        told += [part for each in self.profiles for part in ("--profile", each)]
        files = ["-"] if self.document is not None else [str(Path(self.directory, each)) for each in self.files]
        return told + [part for each in files for part in ("--file", each)]


@dataclass(frozen=True, slots=True)
class ComposeDone:
    """How a run ended: its exit code, and what it wrote, cut where that is too long."""

    code: int
    output: str
    errors: str


class Compose:
    """Runs Compose, from any thread, against one engine; once cancelled, no more (R3).

    :param variables: those that lead it to the engine; none: it is only asked what needs no engine.
    :param path: where its programs are looked for.
    """

    def __init__(self, variables: Mapping[str, str] | None = None, path: str = SEARCH_PATH) -> None:
        self._variables = {
            "PATH": path,
            "HOME": str(Path("~").expanduser()),
            "LANG": "C.UTF-8",
            "COMPOSE_INTERACTIVE_NO_CLI": "1",
            **(variables or {}),
        }
        self._path = path
        self._cancelled = threading.Event()

    def find(self) -> tuple[str, ...]:
        """The beginning of its command line; empty where there is none. Found once in a process."""
        with _LOCK:
            if self._path not in _FOUND:
                found = next((each for each in self._candidates() if self._is_there(each)), ())
                if not found:
                    return ()
                _FOUND[self._path] = found
            return _FOUND[self._path]

    def describe(self) -> str:
        """Which Compose is used, and its version, for a person; empty where there is none.

        :raises EngineError: it does not tell.
        """
        found = self.find()
        if not found:
            return ""
        name = " ".join((Path(found[0]).name, *found[1:]))
        return f"{name} {self._version(found).output.strip()} ({found[0]})"

    def run(self, run: ComposeRun) -> ComposeDone:
        """Run it to its end; what it says is not judged here.

        :raises EngineNotFound: Compose is not installed.
        :raises EngineTimeout: it did not end in time, and was ended.
        :raises EngineCallCancelled: the controller stops; it was ended.
        :raises EngineActionFailed: it cannot be started.
        """
        found = self.find()
        if not found:
            raise EngineNotFound(NOT_INSTALLED)
        # What is put in may not lead Compose to another engine, so ours win.
        environment = {**run.environment, **self._variables}
        if run.docker_config:
            environment["DOCKER_CONFIG"] = run.docker_config
        command = [*found, *run.flags, *run.arguments]
        return self._run(f"compose {run.arguments[0]}", command, environment, run)

    def cancel(self) -> None:
        """End the runs that are going on, and refuse later ones."""
        self._cancelled.set()

    def _candidates(self) -> list[tuple[str, ...]]:
        docker = shutil.which("docker", path=self._path)
        alone = shutil.which("docker-compose", path=self._path)
        return ([(docker, "compose")] if docker else []) + ([(alone,)] if alone else [])

    def _is_there(self, command: tuple[str, ...]) -> bool:
        """A plugin may be missing though `docker` is there; a program of its own is there when it was found."""
        if len(command) == 1:
            return True
        try:
            return self._version(command).code == 0
        except EngineError:
            return False

    def _version(self, command: tuple[str, ...]) -> ComposeDone:
        asked = ComposeRun(["version", "--short"], "", "/", _FIND_SECONDS)
        return self._run("compose version", [*command, *asked.arguments], self._variables, asked)

    def _run(self, what: str, command: Sequence[str], environment: Mapping[str, str], run: ComposeRun) -> ComposeDone:
        if self._cancelled.is_set():
            raise EngineCallCancelled(f"{what}: not begun, because the controller stops")
        ends = time.monotonic() + run.deadline_seconds
        with contextlib.ExitStack() as stack:
            folder = run.directory
            if not Path(folder).is_dir():
                folder = stack.enter_context(tempfile.TemporaryDirectory())
            given = subprocess.DEVNULL if run.document is None else stack.enter_context(_as_file(run.document))
            try:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=dict(environment),
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise EngineActionFailed(f"{what}: cannot be started: {error.strerror}") from error
            stack.callback(_end, process)
            output, errors = _Reader(process.stdout), _Reader(process.stderr)
            ended = self._wait(process, ends)
            if not ended:
                _end(process)
        if self._cancelled.is_set() and not ended:
            raise EngineCallCancelled(f"{what}: ended, because the controller stops")
        if not ended:
            raise EngineTimeout(f"{what}: no end within {run.deadline_seconds:g} s; it was ended")
        # docker-compose takes what it reads from its standard input for a file of the folder that it runs in.
        texts = (each.text().replace(folder, run.directory) for each in (output, errors))
        return ComposeDone(process.returncode, *texts)

    def _wait(self, process: subprocess.Popen[bytes], ends: float) -> bool:
        """Whether it ended by itself, before the deadline and before we stop."""
        while process.poll() is None:
            if self._cancelled.wait(_POLL_SECONDS) or time.monotonic() > ends:
                return False
        return True


@contextlib.contextmanager
def _as_file(document: bytes) -> Iterator[IO[bytes]]:
    """A document as a file that only we hold: it has no name and lies in memory."""
    with os.fdopen(os.memfd_create("document"), "w+b") as file:
        file.write(document)
        file.flush()
        file.seek(0)
        yield file


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started. The group outlives its leader, and so is ended in any case."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Reader:
    """Reads a pipe to its end on a thread, and keeps the beginning, as much as is allowed."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self._pipe = pipe
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, name="compose-output", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What came, once the process has ended."""
        self._thread.join()
        return self._kept.decode("utf-8", "replace")

    def _read(self) -> None:
        with self._pipe:
            while part := self._pipe.read1(65_536):  # type: ignore[attr-defined]  # a buffered pipe has it
                self._kept += part[: max(0, MOST_OUTPUT_BYTES - len(self._kept))]
