"""A real Docker engine that the tests start, stop, freeze and kill, beside any other on the machine.

It shares nothing with another engine: own socket, directories, containerd, bridge, cgroup and engine id,
and no packet filter rules.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from docker import APIClient

from tests.harness import images, remains, slots
from tests.harness.components import program_path, require
from tests.harness.waiting import wait_until

START_SECONDS = 30.0
STOP_SECONDS = 15.0
LOG_LINES = 60


class PrivateEngine:
    """One dockerd with its own containerd. Every method may be called in every state.

    :param disk_megabytes: gives it a file system of that size for all that it stores; 0: that of its directory.
    """

    def __init__(self, disk_megabytes: int = 0) -> None:
        self._disk_megabytes = disk_megabytes
        self._slot: slots.Slot | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._last_log = ""

    @property
    def directory(self) -> Path:
        """Where everything of the engine lies; RuntimeError before `start`."""
        if self._slot is None:
            raise RuntimeError("the private engine is not started")
        return self._slot.directory

    @property
    def socket_path(self) -> Path:
        """The engine's Unix socket."""
        return self.directory / "docker.sock"

    @property
    def endpoint(self) -> str:
        """What goes into DOCKER_HOST."""
        return f"unix://{self.socket_path}"

    @property
    def data_root(self) -> Path:
        """dockerd's data root: images, containers, layers."""
        return self.directory / "data"

    @property
    def pid(self) -> int:
        """The process id of dockerd; RuntimeError when it does not run."""
        if self._process is None:
            raise RuntimeError("the private engine does not run")
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers; the first start imports busybox:local. No-op while it runs."""
        if self._process is not None:
            return
        first = self._slot is None
        try:
            if first:
                self._claim()
            self._spawn()
            wait_until(self._answers, START_SECONDS, "the private engine answers a ping")
            if first:
                with contextlib.closing(self.client()) as client:
                    images.import_images(client, [images.BUSYBOX])
        except BaseException as exc:
            exc.add_note(self.log())
            self.stop()
            raise

    def stop(self) -> None:
        """End at once, as nothing is kept, and remove every trace. Idempotent."""
        self.kill()
        if self._slot is not None:
            self._last_log = self.log()
            self._slot.release()
            self._slot = None

    def halt(self) -> None:
        """Stop gracefully and keep the data, as for an upgrade; `start` brings it back."""
        self.resume()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def restart(self) -> None:
        """Halt and start on the same data: same engine id, containers stopped, new socket inode."""
        kept = self.socket_path.with_name("previous.sock")
        with contextlib.suppress(FileNotFoundError):
            # File systems reuse inode numbers at once; a second name keeps the old one taken.
            os.link(self.socket_path, kept)
        self.halt()
        self.start()
        kept.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL dockerd and its containerd, as in a crash: containers run on until the next start."""
        self.resume()
        if self._process is None:
            return
        containerd = self._containerd()
        self._process.kill()
        self._process.wait()
        self._process = None
        remains.kill_all(containerd)
        # dockerd takes a zombie for a living containerd and waits for it until it gives up.
        (self.directory / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """SIGSTOP dockerd: it accepts connections and, once the signal has reached all its threads, never answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def pause_containerd(self) -> None:
        """SIGSTOP containerd: listing answers, starting and stopping containers hangs."""
        for pid in self._containerd():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT dockerd and containerd."""
        for pid in [*([self._process.pid] if self._process else []), *self._containerd()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """dockerd is stopped inside the block and runs again after it."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def client(self, timeout_seconds: float = 60.0) -> APIClient:
        """A new low-level client; the caller closes it."""
        return APIClient(base_url=self.endpoint, timeout=timeout_seconds)  # type: ignore[arg-type]  # a float works

    def log(self) -> str:
        """The last lines of the engine's log; after `stop`, those of its end."""
        if self._slot is None:
            return self._last_log
        path = self.directory / "dockerd.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join([line for line in lines if "module=grpc" not in line][-LOG_LINES:])

    def _claim(self) -> None:
        for component in ("root", "docker", "iproute2", "busybox"):
            require(component)
        self._slot = slots.claim("tdt")
        for command in (
            f"link add {self._slot.name} type bridge",
            f"address add {next(self._slot.network.hosts())}/24 dev {self._slot.name}",
            f"link set {self._slot.name} up",
        ):
            subprocess.run([program_path("ip"), *command.split()], check=True, capture_output=True)
        self.data_root.mkdir()
        if self._disk_megabytes:
            size = f"size={self._disk_megabytes}m"
            disk = ["mount", "-t", "tmpfs", "-o", size, "tallyd-test", str(self.data_root)]
            subprocess.run(disk, check=True, capture_output=True)
        (self.directory / "daemon.json").write_text(json.dumps(self._configuration()))

    def _configuration(self) -> dict[str, object]:
        assert self._slot is not None
        pools = {"base": str(list(self._slot.network.subnets())[1]), "size": 28}
        configuration: dict[str, object] = {"default-address-pools": [pools], "shutdown-timeout": 2}
        # The engine id comes from a key file that a machine's engines share; from 23 on, from the data root.
        if _major_version() < 23:
            configuration["deprecated-key-path"] = str(self.directory / "key.json")
        else:
            (self.data_root / "engine-id").write_text(str(uuid.uuid4()))
        return configuration

    def _spawn(self) -> None:
        arguments = [
            *(["setpriv", "--pdeathsig", "TERM"] if program_path("setpriv") else []),
            program_path("dockerd"),
            f"--config-file={self.directory}/daemon.json",
            f"--host={self.endpoint}",
            f"--data-root={self.data_root}",
            f"--exec-root={self.directory}/exec",
            f"--pidfile={self.directory}/dockerd.pid",
            f"--bridge={self.directory.name}",
            f"--cgroup-parent=/{self.directory.name}",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"),
        ]
        with (self.directory / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the private engine ended with {self._process.returncode} while it started")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(START_SECONDS)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: engine\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    def _containerd(self) -> list[int]:
        return remains.daemons_of(self._slot.directory, "containerd") if self._slot is not None else []


@functools.cache
def _major_version() -> int:
    printed = subprocess.run([program_path("dockerd"), "--version"], capture_output=True, check=True, text=True)
    match = re.search(r"version (\d+)", printed.stdout)
    return int(match[1]) if match else 0
