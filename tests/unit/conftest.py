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
from tests.harness import wait_until
from tests.unit.loops import Running, loop_threads
from tests.unit.passes import Passes
from tests.unit.plugins import Zoo
from tests.unit.served import Served
from tests.unit.watching import Watching, watcher_threads

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


@pytest.fixture
def zoo() -> Iterator[Zoo]:
    """Plugins of every behaviour; what hangs is let go in the end."""
    each = Zoo()
    yield each
    each.release()


@pytest.fixture
def passes(database: Database, client: EngineClient, zoo: Zoo) -> Passes:
    """Passes over `docker` into `database`, where a site, a stack and a project are declared."""
    return Passes.of(database, client, zoo.registry)


@pytest.fixture
def running(passes: Passes, client: EngineClient) -> Iterator[Running]:
    """Loops on `docker` and `database`; stopped in the end."""
    each = Running(passes.activation, client)
    yield each
    for loop in each.loops:
        loop.stop()
        wait_until(lambda: not loop_threads(), what="the loop's thread ends")


@pytest.fixture
def served(passes: Passes, client: EngineClient) -> Iterator[Served]:
    """The HTTP application over `docker` and `database`; its loop is not started."""
    each = Served(passes, client)
    yield each
    each.loop.stop()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A declared file in a folder of its own."""
    path = tmp_path / "etc" / "config.yaml"
    path.parent.mkdir()
    path.write_text("one")
    return path


@pytest.fixture
def watching() -> Iterator[Watching]:
    """Nothing yet; stopped in the end."""
    each = Watching()
    yield each
    for watcher in each.watchers:
        watcher.stop()
    wait_until(lambda: not watcher_threads(), what="the threads end")
