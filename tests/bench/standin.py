"""Stand-ins for engines, in processes of their own, so that they do not compete with the controller for one.

`python -m tests.bench.standin FAKES CONTAINERS` serves; the rest of this module starts it and talks to it by lines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.stacks import labels_of
from tests.fakes import FakeDocker, FakeWorld

_END_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Group:
    """How many stand-ins one process serves, and how many containers each lists; they share one listing."""

    fakes: int
    containers: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """A container that was started, and when, in seconds since the epoch."""

    container: str
    at: float


class StandIn:
    """A process with stand-ins."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.endpoints: list[str] = self._read()

    def run_starts(self, per_second: float, seconds: float) -> list[Started]:
        """Start containers of the first stand-in at a steady rate; returns when the last one is started.

        Half of the containers run at most: one is killed for each that is started beyond.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([per_second, seconds]) + "\n")
        self._process.stdin.flush()
        return [Started(*each) for each in self._read()]

    def _read(self) -> list:  # type: ignore[type-arg]  # whatever JSON the process writes
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the stand-in ended")
        return list(json.loads(line))


@contextlib.contextmanager
def stand_in(group: Group) -> Iterator[StandIn]:
    """Serve for the length of a block."""
    arguments = [str(each) for each in (group.fakes, group.containers, group.first)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.standin", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield StandIn(process)
    finally:
        process.communicate()  # the end of its input ends it
        process.wait(_END_SECONDS)


def _start_steadily(world: FakeWorld, per_second: float, seconds: float) -> list[tuple[str, float]]:
    containers = [item["Id"] for item in world.listing()]
    half = max(1, len(containers) // 2)
    started: list[tuple[str, float]] = []
    began = time.time()
    for number in range(round(per_second * seconds)):
        time.sleep(max(0.0, began + number / per_second - time.time()))
        if number >= half:
            world.kill(containers[(number - half) % len(containers)])
        container = containers[number % len(containers)]
        started.append((container, time.time()))
        world.start(container)
    return started


def _serve(group: Group) -> None:
    world = FakeWorld()
    world.many(group.containers, labels_of)
    with contextlib.ExitStack() as stack:
        fakes = [FakeDocker(engine_id=f"STAND-IN:{group.first + number}") for number in range(group.fakes)]
        for fake in fakes:
            fake.world = world
            stack.enter_context(fake)
        print(json.dumps([fake.endpoint for fake in fakes]), flush=True)
        for line in sys.stdin:
            print(json.dumps(_start_steadily(world, *json.loads(line))), flush=True)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("fakes", "containers", "first"):
        parser.add_argument(name, type=int)
    asked = parser.parse_args()
    _serve(Group(asked.fakes, asked.containers, asked.first))


if __name__ == "__main__":
    _main()
