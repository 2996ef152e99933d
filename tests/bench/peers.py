"""P3: what others pay to know the same, in the same run.

The plain way is written here as one would write it first: list, and for each container read its row, write it
and commit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable
from typing import Any

import docker
from sqlmodel import Session, select

from controller.clock import CLOCK
from store.database import Database
from store.tables import ContainerTable
from tests.bench.figures import Result, Target, milliseconds, ratios, summarised
from tests.bench.prometheus import measure_refresh
from tests.bench.stage import HOST, Stage, controller_of, interleaved
from tests.harness.components import program_path

PLAIN = Target(5.0, at_least=True)
DOCKER_PY = Target(15.0, at_least=True)


def measure_peers(stage: Stage) -> list[Result]:
    """The plain way, docker-py's high-level list, the `docker ps` command, and Prometheus' discovery."""
    client = docker.DockerClient(base_url=stage.engine.endpoint)
    command = [program_path("docker"), "ps", "--all", "--quiet"]
    environment = {**os.environ, "DOCKER_HOST": stage.engine.endpoint}

    def docker_ps() -> object:
        return subprocess.run(command, env=environment, check=True, capture_output=True)

    with controller_of(stage.engine.endpoint, stage.new_store()) as controller:
        controller.tick()
        plain = plain_pass(client, controller.database)
        calls = (controller.tick, plain, lambda: client.containers.list(all=True), docker_ps)
        ours, *others = interleaved(stage.scale.slow_repetitions, calls)
    client.close()
    tick = statistics.median(milliseconds(ours))
    rows = (
        ("a read, a write and a commit for each row ÷ tick", PLAIN, ""),
        (
            "docker-py containers.list(all=True) ÷ tick",
            DOCKER_PY,
            "; one listing and an inspection for each, no store",
        ),
        ("docker ps --all --quiet ÷ tick", None, "; a process of its own, no store"),
    )
    return [
        _compared(name, (theirs, ours), target, more)
        for (name, target, more), theirs in zip(rows, others, strict=True)
    ] + measure_refresh(stage, tick)


def plain_pass(client: docker.DockerClient, database: Database) -> Callable[[], object]:
    """The plain way, over the rows that a tick of ours has made. Same file, same durability."""

    def save(item: dict[str, Any]) -> None:
        with Session(database.engine) as session:
            found = session.exec(
                select(ContainerTable).where(ContainerTable.host == HOST, ContainerTable.container_id == item["Id"])
            ).one()
            found.name = item["Names"][0].lstrip("/")
            found.image_ref, found.image_id = item["Image"], item["ImageID"]
            found.state = item["State"]
            found.last_seen_at = CLOCK.now()
            session.add(found)
            session.commit()

    def run() -> None:
        for item in client.api.containers(all=True):
            save(item)

    return run


def _compared(name: str, seconds: tuple[list[float], list[float]], target: Target | None, more: str) -> Result:
    theirs, ours = seconds
    note = (
        f"{statistics.median(milliseconds(theirs)):,.0f} ms against {statistics.median(milliseconds(ours)):.1f} ms, "
        f"{len(ours)} rounds{more}"
    )
    return summarised("P3", name, ratios(theirs, ours), "×", target, note)
