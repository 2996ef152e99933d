"""A failed integration test shows what its engines logged."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.harness import World
from tests.integration.deploys import Deploys
from tests.integration.stacks import Stack
from tests.integration.workshop import Workshop, opened_workshop

ENGINES = ("own_engine", "engine")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the log of the test's engine to the report of its failure."""
    report = yield
    used = getattr(item, "funcargs", {})
    if report.when == "call" and report.failed:
        for name in ENGINES:
            if name in used:
                report.sections.append((f"log of {name}", used[name].log()))
    return report


@pytest.fixture
def deploys(world: World, sqlite_url: str) -> Iterator[Deploys]:
    """A workload of source `image`, with its containers on the shared engine."""
    made = Deploys(world, sqlite_url)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def stack(world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A workload of source `compose`, with its project on the shared engine; manifests in `manifests`."""
    (tmp_path / "manifests").mkdir()
    made = Stack(world, sqlite_url, manifests=tmp_path / "manifests")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def workshop(world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Workshop]:
    """Workloads that are declared and deployed by the command line."""
    with opened_workshop(world, sqlite_url, tmp_path) as made:
        yield made
