"""What unit tests share: a fake engine, a migrated store in a file, and how hypothesis works here."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from controller.engine.client import EngineClient
from controller.engine.endpoint import Endpoint
from store import hosts
from store.database import Database, open_database
from store.records import Host
from store.schema import migrate
from tests.builders import HOST
from tests.fakes import FakeDocker, FakeWorld

# No deadline: the machines of CI are shared. A failure prints what repeats it (`@reproduce_failure`).
settings.register_profile(
    "tallyd", deadline=None, print_blob=True, derandomize=False, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tallyd")


@pytest.fixture
def docker() -> Iterator[FakeDocker]:
    """A fake engine."""
    with FakeDocker() as fake:
        yield fake


@pytest.fixture
def world(docker: FakeDocker) -> FakeWorld:
    """The containers of `docker`."""
    return docker.world


@pytest.fixture
def client(docker: FakeDocker) -> Iterator[EngineClient]:
    """tallyd's client for `docker`."""
    with contextlib.closing(EngineClient(Endpoint(docker.endpoint), timeout_seconds=10)) as each:
        yield each


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a schema and one host, to be copied."""
    path = tmp_path_factory.mktemp("template") / "tallyd.db"
    with contextlib.closing(open_database(f"sqlite:///{path}")) as store:
        migrate(store)
        hosts.register(store, Host(HOST))
    return path


@pytest.fixture
def database_path(migrated_file: Path, tmp_path: Path) -> Path:
    """A migrated SQLite file with :data:`~tests.builders.HOST`."""
    return Path(shutil.copy(migrated_file, tmp_path / "tallyd.db"))


@pytest.fixture
def database(database_path: Path) -> Iterator[Database]:
    """The store of `database_path`."""
    with contextlib.closing(open_database(f"sqlite:///{database_path}")) as store:
        yield store
