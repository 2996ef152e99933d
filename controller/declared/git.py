"""Runs the `git` command: hardened, bounded in time, and to be ended from another thread.

The repository's own configuration is the operator's and is obeyed; what comes from a remote or a request is not:
no hook runs, nothing is asked on a terminal, and no secret of a URL reaches a message.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from controller.errors import GitFailed

_HARDENED = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.quotePath=false",
    "protocol.ext.allow=never",
    "safe.bareRepository=explicit",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    # Housekeeping that goes on in the background would outlive us and hold the repository's locks.
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    "advice.detachedHead=false",
)
# What git, curl and ssh need to find programs, credentials, proxies and certificates; our own secrets stay here.
_INHERITED = re.compile(
    r"^(PATH|HOME|TMPDIR|XDG_CONFIG_HOME|SSH_AUTH_SOCK|SSL_CERT_(FILE|DIR)|GIT_SSL_CA(INFO|PATH)"
    r"|GIT_CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|(KEY|VALUE)_\d+)|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy)$"
)
_ALWAYS = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_AUTHOR_NAME": "tallyd",
    "GIT_AUTHOR_EMAIL": "tallyd@localhost",
    "GIT_COMMITTER_NAME": "tallyd",
    "GIT_COMMITTER_EMAIL": "tallyd@localhost",
}
_UNATTENDED_SSH = "-o BatchMode=yes -o ConnectTimeout=15"
_GRACE_SECONDS = 0.5
_MOST_TROUBLE = 600
_USERINFO = re.compile(r"(?<=://)\S*@")
_QUERY = re.compile(r"(://[^\s?]*)\?[^\s']*")
_NOT_WORTH_TELLING = ("hint:", "remote: Enumerating", "remote: Counting", "remote: Compressing", "remote: Total")

CANCELLED = "git was ended, because the controller stops"


@dataclass(frozen=True, slots=True)
class GitLimits:
    """Seconds for one call that asks the remote, for any other call, and for getting the repository's lock."""

    remote_seconds: float = 60.0
    local_seconds: float = 30.0
    lock_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class GitAnswer:
    """How one call ended. ``trouble`` is what git complained about, fit to be shown; ``code`` is negative for
    one that was killed, as after its time was over.
    """

    code: int
    output: bytes
    trouble: str
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether git succeeded."""
        return self.code == 0

    @property
    def text(self) -> str:
        """The output without its last line end."""
        return self.output.decode(errors="surrogateescape").rstrip("\n")

    @property
    def names(self) -> list[str]:
        """The output as NUL-terminated names."""
        return [each.decode(errors="surrogateescape") for each in self.output.split(b"\0") if each]


class Git:
    """The `git` command in one folder. Any number of threads may use it at the same time."""

    def __init__(self, folder: Path, environment: Mapping[str, str], limits: GitLimits) -> None:
        self.folder = folder
        self.limits = limits
        self._environment = {name: value for name, value in environment.items() if _INHERITED.match(name)} | _ALWAYS
        self._ssh = environment.get("GIT_SSH_COMMAND", "")
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._cancelled = False

    def ask(
        self,
        *arguments: str,
        seconds: float | None = None,
        variables: Mapping[str, str] | None = None,
        feed: bytes = b"",
        into: IO[bytes] | None = None,
    ) -> GitAnswer:
        """Run git to its end, whatever that is.

        :param seconds: until it is ended; by default what a local call may take.
        :param variables: more environment.
        :param into: a file that gets the output instead of the answer, for one that may be long.
        :raises GitFailed: git is not installed, or :meth:`cancel` was called.
        """
        options = [part for each in _HARDENED for part in ("-c", each)]
        command = ["git", "-C", str(self.folder), *options, *arguments]
        environment = self._environment | dict(variables or {})
        # Files, not pipes: what git leaves running, such as a shared ssh connection, would keep a pipe open.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(feed)
            given.seek(0)
            told = out if into is None else into
            process = self._start(command, environment, (given.fileno(), told.fileno(), err.fileno()))
            timed_out = False
            try:
                process.wait(self.limits.local_seconds if seconds is None else seconds)
            except subprocess.TimeoutExpired:
                timed_out = True
                _end(process)
            finally:
                with self._lock:
                    self._running.discard(process)
            if self._cancelled:
                raise GitFailed(CANCELLED)
            out.seek(0)
            err.seek(0)
            return GitAnswer(process.returncode, out.read(), readable(err.read().decode(errors="replace")), timed_out)

    def ask_remote(self, *arguments: str) -> GitAnswer:
        """As :meth:`ask`, for a command that talks to a remote; an ssh that it starts never asks anything."""
        ssh = self._ssh or self.ask("config", "--get", "core.sshCommand").text or "ssh"
        variables = {"GIT_SSH_COMMAND": f"{ssh} {_UNATTENDED_SSH}"}
        return self.ask(*arguments, seconds=self.limits.remote_seconds, variables=variables)

    def tell(self, *arguments: str, variables: Mapping[str, str] | None = None, feed: bytes = b"") -> str:
        """Run git, which must succeed; its output.

        :raises GitFailed: with what git said.
        """
        answer = self.ask(*arguments, variables=variables, feed=feed)
        if not answer.ok:
            raise GitFailed(f"git {arguments[0]} in {self.folder}: {failure_of(answer)}")
        return answer.text

    def cancel(self) -> None:
        """End what runs, within a second; every later call fails."""
        with self._lock:
            self._cancelled = True
            running = tuple(self._running)
        for each in running:
            _end(each)

    def _start(self, command: list[str], environment: Mapping[str, str], files: tuple[int, int, int]) -> _Process:
        given, out, err = files
        with self._lock:
            if self._cancelled:
                raise GitFailed(CANCELLED)
            try:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    cwd="/",
                    stdin=given,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,  # a group to be ended as a whole, and no terminal to ask on
                )
            except (OSError, ValueError) as exc:
                raise GitFailed(f"git cannot be started: {exc}; is it installed?") from exc
            self._running.add(process)
            return process


_Process = subprocess.Popen[bytes]


def _end(process: _Process) -> None:
    """First politely: a git that is told to end removes its lock files."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)


def redacted(text: str) -> str:
    """The text without the user information and the query of any URL in it."""
    return _QUERY.sub(r"\1?***", _USERINFO.sub("***@", text))


def readable(text: str) -> str:
    """What git wrote to stderr as one line: no secret, no control character, no progress, not too long."""
    lines = [line.strip() for line in re.split(r"[\r\n]", text)]
    told = "; ".join(line for line in lines if line and not line.startswith(_NOT_WORTH_TELLING))
    shown = "".join(each if each.isprintable() else " " for each in redacted(told))
    return shown if len(shown) <= _MOST_TROUBLE else shown[:_MOST_TROUBLE] + " …"


def failure_of(answer: GitAnswer) -> str:
    """Why a call failed, in words."""
    if answer.timed_out:
        return "no end in time, so it was ended"
    if ".lock': File exists" in answer.trouble:
        return f"{answer.trouble} (a git that runs there, or one that was killed; if none runs, remove that file)"
    if answer.code < 0:
        return f"ended by signal {-answer.code}"
    return answer.trouble or f"exit code {answer.code}"
