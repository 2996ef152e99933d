"""Starts the `tallyd` console script in a fork of a process that has imported everything already.

Importing takes over a second, and a run of these tests starts the script two hundred times. The script itself
is executed from its file, in a process of its own, in a session of its own.

One connection is one process: it brings a JSON line (argv, environment, folder) and three file descriptors;
it is told the pid, and when the process has ended its exit code. When it breaks, the process is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading

PACKAGES = ("controller", "store")
"""All of them: a command imports its own modules only when it is called."""

IMPORTED = (
    "alembic.command",
    "apscheduler.schedulers.background",
    "rich.live",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)


def import_all() -> None:
    """Import what any command may need, but for what runs when it is imported."""
    for package in PACKAGES:
        root = importlib.import_module(package)
        for found in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not found.name.endswith("__main__") and ".migrations." not in found.name:
                importlib.import_module(found.name)
    for name in IMPORTED:
        importlib.import_module(name)


def serve(address: str) -> None:
    """Serve connections until stdin ends. Returns in the forked processes, and there only."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(16)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            start(connection)
            return
        connection.close()


def start(connection: socket.socket) -> None:
    """Fork the process that is asked for, return in it, and watch it from here."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    order = json.loads(message)
    pid = os.fork()
    if pid == 0:
        become(order, descriptors, connection)
        return
    for descriptor in descriptors:
        os.close(descriptor)
    watch(pid, connection)


def become(order: dict[str, object], descriptors: list[int], connection: socket.socket) -> None:
    """Make this process look as if it had just been executed."""
    connection.close()
    os.setsid()
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order["environment"])  # type: ignore[call-overload]
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.chdir(str(order["folder"]))
    sys.argv = list(order["argv"])  # type: ignore[call-overload]


def watch(pid: int, connection: socket.socket) -> None:
    """Tell the pid, then the exit code; kill the process when nobody listens any more. Does not return."""
    with contextlib.suppress(OSError):
        connection.sendall(f"{pid}\n".encode())
    ended = os.pidfd_open(pid)
    readable, _, _ = select.select([ended, connection], [], [])
    if ended not in readable:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def run_script() -> None:
    """Run the script; `tallyd run` ends as every Python process does.

    The other commands do, at their end, what can be seen from outside, without freeing each imported module:
    this takes as long as all that they did before.
    """
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        if "run" in sys.argv or not isinstance(ended.code, int | None):
            raise
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code or 0)


if __name__ == "__main__":
    import_all()
    gc.freeze()
    serve(sys.argv[1])
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  # the three streams of this process from now on
    run_script()
