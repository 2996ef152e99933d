"""Fixtures that start what a test needs: a Docker engine, containers, databases.

Session engines and servers are shared; a test that stops, kills or freezes an engine takes `own_engine`.
TALLYD_TEST_DOCKER_HOST offers an engine for the tests that only create containers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Engine, OfferedEngine, PrivateEngine, PrivatePostgres, PrivateRegistry, World

OFFER = "TALLYD_TEST_DOCKER_HOST"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches the code under test."""
    for name in list(os.environ):
        if name.startswith(("TALLYD_", "DOCKER_")) and name != OFFER:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The engine of the whole run: the offered one, else a private one."""
    offered = os.environ.get(OFFER)
    shared = OfferedEngine(offered) if offered else PrivateEngine()
    shared.start()
    try:
        yield shared
    finally:
        shared.stop()


@pytest.fixture
def own_engine() -> Iterator[PrivateEngine]:
    """A private engine of this test alone, to stop, kill, freeze or restart."""
    own = PrivateEngine()
    own.start()
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture
def world(engine: Engine) -> Iterator[World]:
    """Containers on the shared engine; removed afterwards."""
    shared = World(engine)
    try:
        yield shared
    finally:
        try:
            shared.remove_all()
        finally:
            shared.close()


@pytest.fixture
def own_world(own_engine: PrivateEngine) -> Iterator[World]:
    """Containers on `own_engine`; they go with it."""
    own = World(own_engine)
    try:
        yield own
    finally:
        own.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """The PostgreSQL server of the whole run."""
    server = PrivatePostgres()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_postgres() -> Iterator[PrivatePostgres]:
    """A server of this test alone, to halt or freeze."""
    server = PrivatePostgres()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=[False], ids=["open"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PrivateRegistry]:
    """An image registry of this test alone; parametrised with True it wants a password."""
    directory = tmp_path / "registry"
    directory.mkdir()
    own = PrivateRegistry(directory, protected=request.param)
    own.start()
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'tallyd.db'}"


@pytest.fixture
def postgres_url(postgres: PrivatePostgres) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database."""
    url = postgres.fresh_database()
    with contextlib.ExitStack() as stack:
        stack.callback(postgres.drop, url)
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Both stores, one after the other: a test with this fixture runs twice."""
    return str(request.getfixturevalue(f"{request.param}_url"))
