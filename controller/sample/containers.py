"""The sample: real containers of the three kinds, recognised and removed by a label of their own.

The label's value is the folder that the sample runs in, so that what a killed run left is found again, and what
anybody else started is never mistaken for it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.sample import packages
from controller.sample.client import Docker
from controller.sample.image import provide_image
from controller.sample.terminal import SampleUnavailable, say

SITE = "docs.example"
SERVE = "mkdir -p /www && echo 'Hello from the tallyd sample.' > /www/index.html && exec httpd -f -p 80 -h /www"
WEB_REPLICAS = 2
PROJECT_INSTANCES = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """Where and how one sample runs."""

    docker: Docker
    folder: Path
    prefix: str

    @property
    def mark(self) -> str:
        """The label, with its value, of everything that belongs to the sample."""
        return f"{self.prefix}.sample={self.folder}"

    @property
    def stack(self) -> str:
        """The Compose project's name."""
        return f"{self.prefix}-blog"


@contextlib.contextmanager
def running(sample: Sample) -> Iterator[list[str]]:
    """The sample runs inside the block; yields the ids of the project's containers.

    :raises SampleUnavailable: it could not be started; nothing of it is left.
    """
    with contextlib.ExitStack() as stack:
        image, ours = provide_image(sample.docker, sample.folder)
        if ours:
            stack.callback(_attempt, sample.docker, "image", "rm", image)
        stack.callback(remove, sample)
        yield _start(sample, image)


def remove(sample: Sample) -> None:
    """Remove all containers and networks of the sample, also those of an earlier run."""
    docker = sample.docker
    containers = docker.listed(sample.mark)
    networks = docker.run("network", "ls", "--quiet", "--filter", f"label={sample.mark}").split()
    if containers or networks:
        say(f"Removing the sample: {len(containers)} containers")
    for container in containers:
        _attempt(docker, "rm", "--force", "--volumes", container)
    for network in networks:
        _attempt(docker, "network", "rm", network)


def _start(sample: Sample, image: str) -> list[str]:
    names = "a project (shop), a site (docs.example) and a Compose stack (blog)"
    say(f"This engine has no container with a {sample.prefix} label: starting a small sample, {names}")
    network = f"{sample.prefix}-sample"
    sample.docker.run("network", "create", "--label", sample.mark, network)
    project = {f"{sample.prefix}.workload.id": "shop", f"{sample.prefix}.workload.kind": "project"}
    shops = [
        _run(sample, f"{network}-shop-{number}", project, image, "exec sleep 86400")
        for number in range(1, PROJECT_INSTANCES + 1)
    ]
    _run(sample, f"{network}-docs", {f"{sample.prefix}.static-site": SITE}, image, SERVE)
    _start_stack(sample, image)
    return shops


def _run(sample: Sample, name: str, labels: dict[str, str], image: str, script: str) -> str:
    options = [f"--label={key}={value}" for key, value in labels.items()]
    return sample.docker.run(
        *("run", "--detach", "--name", name, "--label", sample.mark, *options),
        *("--network", f"{sample.prefix}-sample", "--publish", "127.0.0.1::80", "--stop-signal", "SIGKILL"),
        *(image, "sh", "-c", script),
    )


def _start_stack(sample: Sample, image: str) -> None:
    command = sample.docker.compose_command()
    if not command and packages.can_install():
        packages.install("docker-compose")
        command = sample.docker.compose_command()
    if not command:
        say("No Compose here, so the stack is left out; install docker-compose to see it")
        return
    (sample.folder / "blog").mkdir(parents=True, exist_ok=True)
    (sample.folder / "blog" / "docker-compose.yml").write_text(json.dumps(_compose_file(sample, image), indent=2))
    sample.docker.compose(
        command,
        sample.folder / "blog",
        *("--project-name", sample.stack, "up", "--detach", "--scale", f"web={WEB_REPLICAS}"),
    )


def _compose_file(sample: Sample, image: str) -> dict[str, object]:
    # JSON is YAML. The version is for docker-compose 1.x; newer ones ignore it.
    name, _, value = sample.mark.partition("=")
    labels = {name: value}

    def service(script: str) -> dict[str, object]:
        escaped = script.replace("$", "$$")
        return {"image": image, "command": ["sh", "-c", escaped], "labels": labels, "stop_signal": "SIGKILL"}

    return {
        "version": "3.4",
        "services": {"web": service(SERVE) | {"expose": ["80"]}, "db": service("exec sleep 86400")},
        "networks": {"default": {"labels": labels}},
    }


def _attempt(docker: Docker, *arguments: str) -> None:
    # A person may have removed it meanwhile; the rest is still to be removed.
    try:
        docker.run(*arguments)
    except SampleUnavailable as exc:
        if "No such" not in str(exc):
            say(str(exc))
