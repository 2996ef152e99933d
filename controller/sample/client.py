"""The `docker` and Compose commands against one engine, and what of tallyd is already there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.sample.terminal import SampleUnavailable, run

PROJECT_LABEL = "com.docker.compose.project"


@dataclass(frozen=True, slots=True)
class Docker:
    """One engine, by its endpoint."""

    endpoint: str

    def run(self, *arguments: str, content: bytes = b"", timeout_seconds: float = 120.0) -> str:
        """Run a `docker` command and return its output.

        :raises SampleUnavailable: it failed.
        """
        environment = {"DOCKER_HOST": self.endpoint}
        return run(["docker", *arguments], content=content, environment=environment, timeout_seconds=timeout_seconds)

    def compose(self, command: Sequence[str], folder: Path, *arguments: str) -> str:
        """Run a Compose command in the folder of its file.

        :raises SampleUnavailable: it failed.
        """
        return run([*command, *arguments], cwd=folder, environment={"DOCKER_HOST": self.endpoint})

    def engine_key(self) -> str:
        """Eight characters that tell this engine from others, for file names."""
        identity = self.run("info", "--format", "{{.ID}}")
        return hashlib.sha256(identity.encode()).hexdigest()[:8]

    def listed(self, label: str) -> list[str]:
        """Ids of all containers, running or not, with a label (`name` or `name=value`)."""
        return self.run("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}").split()

    def has_workloads(self, prefix: str) -> bool:
        """Whether tallyd would find anything to index."""
        if self.listed(f"{prefix}.workload.id") or self.listed(f"{prefix}.static-site"):
            return True
        shown = self.run("ps", "--all", "--format", f'{{{{.Label "{PROJECT_LABEL}"}}}}')
        return any(project.startswith(f"{prefix}-") for project in shown.splitlines())

    def compose_command(self) -> tuple[str, ...]:
        """`docker compose` where its plugin is installed, else `docker-compose`, else nothing."""
        try:
            self.run("compose", "version")
        except SampleUnavailable:
            return ("docker-compose",) if shutil.which("docker-compose") else ()
        return ("docker", "compose")


def label_prefix() -> str:
    """The label prefix that the controller will use."""
    return os.environ.get("TALLYD_LABEL_PREFIX") or "tallyd"
