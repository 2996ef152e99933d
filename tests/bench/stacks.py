"""What every engine of the benchmark lists, real or not: containers of so many stacks. Imports next to nothing."""

from __future__ import annotations

from store.records import Workload, WorkloadKind

STACKS = 50


def labels_of(number: int) -> dict[str, str]:
    """Labels of the n-th container: every stack gets as many services as there are rounds."""
    return {
        "com.docker.compose.project": f"tallyd-w{number % STACKS}",
        "com.docker.compose.service": f"s{number // STACKS}",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.oneoff": "False",
    }


def stacks() -> list[Workload]:
    """The workloads that all containers belong to."""
    names = [f"w{number}" for number in range(STACKS)]
    return [Workload(id=name, name=name, kind=WorkloadKind.STACK, ref=f"tallyd-{name}") for name in names]
