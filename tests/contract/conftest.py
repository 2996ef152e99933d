"""Both engines behind one interface, and both stores, migrated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from docker import APIClient

from controller.engine.client import EngineClient
from controller.engine.endpoint import Endpoint
from store import hosts
from store.database import Database, open_database
from store.records import Host
from store.schema import migrate
from tests.builders import HOST
from tests.contract.ticks import lead
from tests.fakes import FakeDocker


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine, its containers, tallyd's client for it, and Docker's own."""

    world: Any
    client: EngineClient
    docker: APIClient

    def item(self, container: str) -> dict[str, Any]:
        """The item of one container in the complete listing; empty when it is not listed."""
        found = [each for each in self.client.list_containers().items if each["Id"] == container]  # type: ignore[index]
        return found[0] if found else {}  # type: ignore[return-value]

    def get(self, path: str, **parameters: str) -> Any:
        """A bare GET; the response."""
        return self.docker.get(f"{self.docker.base_url}{path}", params=parameters)


@contextlib.contextmanager
def opened(endpoint: str, world: Any) -> Iterator[Engine]:
    """Clients for an engine, closed afterwards."""
    client = EngineClient(Endpoint(endpoint), timeout_seconds=10)
    with contextlib.closing(client), contextlib.closing(APIClient(base_url=endpoint)) as docker:
        yield Engine(world, client, docker)


@pytest.fixture
def fake_docker() -> Iterator[FakeDocker]:
    """A fake engine."""
    with FakeDocker() as fake:
        yield fake


@pytest.fixture
def fake(fake_docker: FakeDocker) -> Iterator[Engine]:
    """The fake engine, with clients."""
    with opened(fake_docker.endpoint, fake_docker.world) as each:
        yield each


@pytest.fixture
def real(engine: Any, world: Any) -> Iterator[Engine]:
    """A real engine, with clients."""
    with opened(engine.endpoint, world) as each:
        yield each


@pytest.fixture(params=["fake", "real"])
def any_engine(request: pytest.FixtureRequest) -> Engine:
    """Both engines, one after the other."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Both stores, one after the other: migrated, and with :data:`~tests.builders.HOST` registered."""
    with contextlib.closing(open_database(database_url)) as store:
        migrate(store)
        hosts.register(store, Host(HOST))
        lead(store)
        yield store
