"""A real PostgreSQL of the tests' own: no TCP, a private Unix socket, never run as root."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import signal
import subprocess
from pathlib import Path

import psycopg

from tests.harness import slots
from tests.harness.components import postgres_programs, program_path, require
from tests.harness.waiting import wait_until

START_SECONDS = 30.0
STOP_SECONDS = 10.0
SUPERUSER = "tallyd"
# The server is thrown away afterwards, so nothing has to survive a power cut.
OPTIONS = (
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=",
    "max_connections=60",
)


class PrivatePostgres:
    """One server; every test takes a fresh database of it."""

    def __init__(self) -> None:
        self._slot: slots.Slot | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = itertools.count(1)

    @property
    def directory(self) -> Path:
        """Socket, data and log; RuntimeError before `start`."""
        if self._slot is None:
            raise RuntimeError("the private PostgreSQL is not started")
        return self._slot.directory

    @property
    def url(self) -> str:
        """The URL of the server's maintenance database."""
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        """The SQLAlchemy URL of one database."""
        return f"postgresql+psycopg://{SUPERUSER}@/{name}?host={self.directory}"

    def start(self) -> None:
        """Start and wait until it answers; data are made at the first start. No-op while it runs."""
        if self._process is not None:
            return
        try:
            if self._slot is None:
                self._initialise()
            self._spawn()
            wait_until(self._answers, START_SECONDS, "the private PostgreSQL answers")
        except BaseException as exc:
            exc.add_note(self.log())
            self.stop()
            raise

    def halt(self) -> None:
        """Stop at once and keep the data, as in an outage; `start` brings it back."""
        self.resume()
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Stop and remove every trace. Idempotent."""
        self.halt()
        if self._slot is not None:
            self._slot.release()
            self._slot = None

    def pause(self) -> None:
        """SIGSTOP the server and all its backends: connections are accepted and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT all of them."""
        self._signal(signal.SIGCONT)

    def fresh_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{next(self._databases)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.database_url(name)

    def drop(self, url: str) -> None:
        """Drop a database that `fresh_database` made, whoever is still connected."""
        name = url.partition("?")[0].rpartition("/")[2]
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def log(self) -> str:
        """The server's log."""
        path = self._slot.directory / "postgres.log" if self._slot else None
        return path.read_text(errors="replace") if path and path.exists() else ""

    def _execute(self, statement: str) -> None:
        connection = psycopg.connect(
            host=str(self.directory), user=SUPERUSER, dbname="postgres", autocommit=True, connect_timeout=5
        )
        with contextlib.closing(connection):
            connection.execute(statement.encode())

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the private PostgreSQL ended with {self._process.returncode} while it started")
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        require("postgres")
        self._slot = slots.claim("tdp")
        user = _user()
        if user is not None:
            os.chown(self.directory, user.pw_uid, user.pw_gid)
        self._run("initdb", f"--pgdata={self.directory}/data", f"--username={SUPERUSER}").wait(START_SECONDS)

    def _spawn(self) -> None:
        options = [argument for option in OPTIONS for argument in ("-c", option)]
        self._process = self._run("postgres", "-D", f"{self.directory}/data", "-k", str(self.directory), *options)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        if program == "initdb":
            arguments = (*arguments, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        user = _user()
        # The parent's death must not leave a server behind; setpriv drops root before it sets that up.
        setpriv = [program_path("setpriv"), "--pdeathsig", "QUIT"] if program_path("setpriv") else []
        identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if user else []
        with (self.directory / "postgres.log").open("ab") as log:
            return subprocess.Popen(
                [*setpriv, *identity, f"{postgres_programs()}/{program}", *arguments],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        for pid in [*_children(self._process.pid), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
