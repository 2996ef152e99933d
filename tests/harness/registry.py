"""A real image registry of the tests' own, on loopback, with or without a password. What it stores goes with it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

from tests.harness.components import program_path, require
from tests.harness.images import BUSYBOX
from tests.harness.offered import Engine
from tests.harness.waiting import wait_until

START_SECONDS = 15.0
USER = "tester"
PASSWORD = "a-password-of-the-tests"
# bcrypt, the one hash that a registry takes; of the password above.
_PASSWORD_FILE = f"{USER}:$2y$05$abcdefghijklmnopqrstuu6O/jaYCx8zhCexxqCBsInzagwRDBqGq\n"
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


class PrivateRegistry:
    """One registry in a folder of a test. It keeps its port and its images from one start to the next."""

    def __init__(self, directory: Path, *, protected: bool = False) -> None:
        self._directory = directory
        self._protected = protected
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """What a reference to an image in it begins with."""
        return f"127.0.0.1:{self._port}"

    @property
    def credentials(self) -> dict[str, str] | None:
        """What lets an engine in; nothing where anybody may come in."""
        return {"username": USER, "password": PASSWORD} if self._protected else None

    def start(self) -> None:
        """Start and wait until it listens. No-op while it runs."""
        if self._process is not None:
            return
        require("registry")
        self._write_configuration()
        log = self._directory / "registry.log"
        with log.open("wb") as written:
            self._process = subprocess.Popen(
                [program_path("docker-registry"), "serve", str(self._directory / "config.json")],
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
            )
        heard = wait_until(lambda: _LISTENING.search(log.read_text()), START_SECONDS, "the registry listens")
        self._port = int(heard[1])

    def stop(self) -> None:
        """Kill it; `start` brings it back with its images. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def push(self, engine: Engine, name: str, local: str = BUSYBOX) -> tuple[str, str]:
        """Push an engine's image under a name; returns reference and digest. The engine no longer has it there."""
        reference = f"{self.address}/{name}"
        client = engine.client()
        try:
            client.tag(local, reference.rpartition(":")[0], reference.rpartition(":")[2])
            said = [
                json.loads(line)
                for part in client.push(reference, stream=True, auth_config=self.credentials or {})
                for line in part.splitlines()
            ]
            digests = [each["aux"]["Digest"] for each in said if "aux" in each]
            assert digests, said
            client.remove_image(reference)
        finally:
            client.close()
        return reference, str(digests[0])

    def docker_config(self, path: Path, password: str = PASSWORD) -> Path:
        """A docker config.json with credentials for it."""
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        path.write_text(json.dumps({"auths": {self.address: {"auth": auth}}}))
        return path

    def _write_configuration(self) -> None:
        configuration: dict[str, object] = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(self._directory / "data")}},
            "http": {"addr": f"127.0.0.1:{self._port}"},
        }
        if self._protected:
            passwords = self._directory / "htpasswd"
            passwords.write_text(_PASSWORD_FILE)
            configuration["auth"] = {"htpasswd": {"realm": "tests", "path": str(passwords)}}
        # YAML is a superset of JSON.
        (self._directory / "config.json").write_text(json.dumps(configuration))
