"""An nginx of our own: tested before it takes a configuration over, reloaded without losing a request (T5).

It is a daemon in a folder of its own, so that it outlives the process that looks after it: who starts again finds it
by its pid file and goes on with it. Renders nothing itself, and knows no documents but to render them.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Collection
from pathlib import Path

import structlog

from controller.declared.durable import replace_file
from controller.errors import RouterFailed
from controller.rollout.routers.document import RouterDocument
from controller.rollout.routers.nginx import (
    BRAND_PATH,
    OLDEST_VERSION,
    NginxBuild,
    NginxOptions,
    brand_of,
    build_of,
    render_nginx,
)
from controller.rollout.routers.nginx_members import master_of, takes_connections, workers_of, workers_without_master

COMMAND_SECONDS = 30.0
IN_FORCE_SECONDS = 20.0
QUICK_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LAST_WORDS_BYTES = 2000

log = structlog.get_logger(__name__)


class NginxRouter:
    """nginx in ``folder``. Not for several threads at once.

    :param program: nginx 1.19.5 or later.
    :param in_force_seconds: how long nginx may take to take a configuration over.
    """

    def __init__(
        self,
        folder: Path,
        options: NginxOptions,
        monotonic: Callable[[], float],
        *,
        program: str = "nginx",
        in_force_seconds: float = IN_FORCE_SECONDS,
    ) -> None:
        self._folder = folder.resolve()
        self._options = options
        self._monotonic = monotonic
        self._program = program
        self._in_force_seconds = in_force_seconds
        self._pause = threading.Event()
        self._build_of_pid: tuple[int, NginxBuild] | None = None

    @property
    def folder(self) -> Path:
        """Configuration, log, pid file and status socket."""
        return self._folder

    @property
    def configuration(self) -> str:
        """The last good configuration; empty before the first."""
        try:
            return self._conf.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    @property
    def pid(self) -> int | None:
        """The master process, if it is alive."""
        return master_of(self._folder)

    @property
    def alone(self) -> bool:
        """Whether no worker of an earlier configuration is still at work."""
        pid = self.pid
        return pid is not None and all(map(takes_connections, workers_of(pid)))

    def check_program(self) -> None:
        """See that nginx is there, and its folder, before anything is promised.

        :raises RouterFailed: it is not installed, or older than 1.19.5, which cannot be told where to log at once.
        """
        self._make_folder()
        told = self._told_build(self._program)
        if build_of(told).version < OLDEST_VERSION:
            first = told.strip().partition("\n")[0]
            raise RouterFailed(f"{first} is too old; install nginx {_dotted(OLDEST_VERSION)} or later")

    def apply(self, document: RouterDocument, quarantined: Collection[str]) -> bool:
        """Bring nginx to this document; returns once no other configuration takes new connections.

        :returns: whether that needed anything.
        :raises RouterFailed: nginx refuses it or does not take it over; the one before goes on serving.
        """
        self._make_folder()
        before, pid = self.configuration, self.pid
        text = render_nginx(document, quarantined, self._options, self._build(pid))
        if pid is not None and text == before and self.answers() == brand_of(text):
            return False
        self._test(text)
        replace_file(self._conf, text)
        try:
            if pid is None:
                self._start(brand_of(text))
            else:
                self._reload(pid, brand_of(text))
        except RouterFailed:
            if before:
                replace_file(self._conf, before)
            raise
        return True

    def answers(self) -> str:
        """The brand of the configuration that answers now; empty where none does."""
        try:
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return ""
        try:
            # By way of the folder's descriptor: a socket's own path may have 107 bytes only.
            return _get(f"/proc/self/fd/{descriptor}/status.sock", BRAND_PATH)
        except OSError:
            return ""
        finally:
            os.close(descriptor)

    def stop(self) -> None:
        """End nginx: at once for new connections, and for requests in flight when they are done or had their time."""
        for number, seconds in (
            (signal.SIGQUIT, self._options.drain_seconds + QUICK_STOP_SECONDS),
            (signal.SIGTERM, QUICK_STOP_SECONDS),
            (signal.SIGKILL, QUICK_STOP_SECONDS),
        ):
            pid = self.pid
            if pid is None:
                return
            members = [pid, *workers_of(pid)] if number is signal.SIGKILL else [pid]
            for each in members:
                _signal(each, number)
            if self._wait(lambda: self.pid is None, seconds):
                return
            log.warning("nginx does not end", signal=number.name, waited_seconds=seconds)

    def _build(self, pid: int | None) -> NginxBuild:
        """Of the nginx that runs, which may be another one than is installed by now; before it runs, of that."""
        if pid is None:
            return build_of(self._told_build(self._program))
        if self._build_of_pid is None or self._build_of_pid[0] != pid:
            self._build_of_pid = pid, build_of(self._told_build(f"/proc/{pid}/exe"))
        return self._build_of_pid[1]

    def _told_build(self, program: str) -> str:
        return self._run("-V", program=program, refused="nginx does not tell its version")

    @property
    def _conf(self) -> Path:
        return self._folder / "nginx.conf"

    def _make_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return
        self._folder.chmod(0o711)
        shut = [each for each in self._folder.parents if not each.stat().st_mode & stat.S_IXOTH]
        if shut:
            raise RouterFailed(
                f"nginx's workers are another user and cannot enter {shut[-1]}; give the router another folder, or "
                f"run: chmod o+x {shut[-1]}"
            )

    def _test(self, text: str) -> None:
        candidate = self._folder / "nginx.conf.new"
        replace_file(candidate, text, durable=False)
        try:
            self._nginx("-t", "-q", "-c", candidate.name, refused="nginx refuses the configuration")
        finally:
            candidate.unlink()

    def _nginx(self, *arguments: str, refused: str) -> None:
        self._run("-p", f"{self._folder}/", "-e", "error.log", *arguments, refused=refused)

    def _run(self, *arguments: str, refused: str, program: str = "") -> str:
        try:
            done = subprocess.run(
                [program or self._program, *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise RouterFailed(
                f"{self._program} is not installed; install nginx {_dotted(OLDEST_VERSION)} or later"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise RouterFailed(f"{self._program} did not end within {COMMAND_SECONDS:g} s") from error
        told = done.stderr.decode(errors="replace")
        if done.returncode != 0:
            raise RouterFailed(f"{refused}: {told.strip()[-_LAST_WORDS_BYTES:]}")
        return told

    def _start(self, brand: str) -> None:
        # What a killed master left behind holds on to our addresses; workers finish what they are at.
        for each in workers_without_master(self._folder):
            _signal(each, signal.SIGQUIT)
        self._wait(lambda: not any(map(takes_connections, workers_without_master(self._folder))), QUICK_STOP_SECONDS)
        (self._folder / "status.sock").unlink(missing_ok=True)
        self._nginx("-c", self._conf.name, refused="nginx does not start")
        self._until(lambda: self.pid is not None and self.answers() == brand)

    def _reload(self, pid: int, brand: str) -> None:
        before = set(workers_of(pid))
        _signal(pid, signal.SIGHUP)
        self._until(lambda: self.answers() == brand and not any(map(takes_connections, before)))

    def _until(self, in_force: Callable[[], bool]) -> None:
        if not self._wait(in_force, self._in_force_seconds):
            raise RouterFailed(
                f"nginx did not take the configuration over within {self._in_force_seconds:g} s: {self._last_words()}"
            )

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = self._monotonic() + seconds
        while not condition():
            if self._monotonic() >= deadline:
                return False
            self._pause.wait(_POLL_SECONDS)
        return True

    def _last_words(self) -> str:
        try:
            written = (self._folder / "error.log").read_bytes()
        except OSError as error:
            return str(error)
        return written[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _get(path: str, target: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect(path)
        connection.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    return answer.partition(b"\r\n\r\n")[2].decode("ascii", "replace")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
