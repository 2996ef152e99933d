"""Stacks by the real Compose, `docker compose` or `docker-compose`, whichever the machine has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.harness.components import SEARCH_PATH, compose_command, require

COMPOSE_SECONDS = 60

SAMPLE_STACK = """\
version: "3"
services:
  web:
    image: busybox:local
    command: httpd -f -p 80 -h /www
    stop_signal: SIGKILL
    expose: ["80"]
  db:
    image: busybox:local
    command: sleep 86400
    stop_signal: SIGKILL
"""


class ComposeStack:
    """One Compose project from `directory`/docker-compose.yml on one engine."""

    def __init__(self, endpoint: str, directory: Path, project: str) -> None:
        require("docker-cli")
        require("compose")
        self.project = project
        self._directory = directory
        self._environment = {
            "DOCKER_HOST": endpoint,
            "PATH": SEARCH_PATH,
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
        }

    def up(self, scale: Mapping[str, int] | None = None) -> None:
        """Bring the stack up, or up to date, with so many containers a service."""
        scales = [
            argument for service, count in (scale or {}).items() for argument in ("--scale", f"{service}={count}")
        ]
        self.compose("up", "--detach", "--remove-orphans", *scales)

    def down(self) -> None:
        """Remove the stack's containers, networks and volumes."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "0")

    def compose(self, *arguments: str) -> str:
        """Run any Compose command on the stack and return its output; the test fails when it fails."""
        command = [*compose_command(), "--project-name", self.project, *arguments]
        done = subprocess.run(
            command,
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMPOSE_SECONDS,
        )
        if done.returncode != 0:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}", pytrace=False)
        return done.stdout
