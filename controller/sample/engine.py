"""A Docker engine: the one that is offered, the machine's own, or one that is started for the sample.

The started one has no bridge and no packet filter rules, so that it leaves no trace on the host's network.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from controller.sample import packages
from controller.sample.terminal import SampleUnavailable, ending_with_us, run, say

DEFAULT_SOCKET = Path("/var/run/docker.sock")
START_SECONDS = 60.0
STOP_SECONDS = 20.0
# A Unix socket's path has at most 107 bytes.
LONGEST_SOCKET = 100


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[str]:
    """The endpoint of an engine that answers; one that is started here keeps its data under `folder`.

    :raises SampleUnavailable: there is none and none can be started.
    """
    offered = os.environ.get("DOCKER_HOST", "")
    if offered:
        say(f"Using the Docker engine of DOCKER_HOST, {offered}")
        yield offered
    elif answers(DEFAULT_SOCKET):
        say(f"Using the Docker engine at {DEFAULT_SOCKET}")
        yield f"unix://{DEFAULT_SOCKET}"
    else:
        with _started(folder / "engine") as endpoint:
            yield endpoint


def answers(path: Path, timeout_seconds: float = 10.0) -> bool:
    """Whether an engine behind a Unix socket answers a ping."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[str]:
    _require_programs()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        socket_path = folder / "docker.sock"
        if len(bytes(socket_path)) > LONGEST_SOCKET:
            short = stack.enter_context(tempfile.TemporaryDirectory(prefix="tallyd-"))
            socket_path = Path(short) / "docker.sock"
        say(f"No Docker engine answers here: starting one with its data in {folder}")
        process = _spawn(folder, socket_path)
        stack.callback(_end, process)
        _wait_until_up(process, socket_path, folder / "dockerd.log")
        yield f"unix://{socket_path}"


def _require_programs() -> None:
    if shutil.which("dockerd") and shutil.which("docker"):
        return
    if not packages.can_install():
        raise SampleUnavailable(
            "No Docker engine answers at DOCKER_HOST or /var/run/docker.sock: install and start Docker, "
            "or run this as root on Debian or Ubuntu, where it can do that for you"
        )
    packages.install("docker.io")
    if not shutil.which("docker"):
        packages.install("docker-cli")


def _spawn(folder: Path, socket_path: Path) -> subprocess.Popen[bytes]:
    (folder / "daemon.json").write_text(json.dumps(_configuration(folder)))
    flags = {
        "config-file": folder / "daemon.json",
        "host": f"unix://{socket_path}",
        "data-root": folder / "data",
        "exec-root": socket_path.parent / "exec",
        "pidfile": folder / "dockerd.pid",
        "bridge": "none",
        "iptables": "false",
        "ip6tables": "false",
        "ip-masq": "false",
        "ip-forward": "false",
    }
    with (folder / "dockerd.log").open("wb") as log:
        return subprocess.Popen(
            ending_with_us(["dockerd", *(f"--{name}={setting}" for name, setting in flags.items())]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _configuration(folder: Path) -> dict[str, object]:
    # Before version 23 the engine id is the machine's, from a key file in /etc; ours stays with our data.
    version = re.search(r"version (\d+)", run(["dockerd", "--version"]))
    old = version is not None and int(version[1]) < 23
    return {"deprecated-key-path": str(folder / "key.json")} if old else {}


def _wait_until_up(process: subprocess.Popen[bytes], socket_path: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if answers(socket_path):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    lines = log.read_text(errors="replace").splitlines() or ["(nothing logged)"]
    raise SampleUnavailable(f"dockerd did not start; its log is {log} and ends with: {lines[-1]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    say("Stopping the Docker engine that was started here")
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
