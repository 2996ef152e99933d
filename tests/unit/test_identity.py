"""Whose listing it is: the id that goes with a listing is that of the engine that answered it (R18)."""

from __future__ import annotations

import contextlib
from pathlib import Path

from controller.engine.client import EngineClient
from controller.engine.endpoint import Endpoint
from tests.builders import id_of
from tests.fakes import FakeDocker


def test_an_engine_is_asked_for_its_id_once_per_connection() -> None:
    """R18, P4: listings of all and of some share one connection, and so one question for the id."""
    with FakeDocker() as fake, contextlib.closing(EngineClient(Endpoint(fake.endpoint))) as client:
        for number in range(5):
            assert client.list_containers().engine_id == fake.engine_id
            assert client.list_containers([id_of(str(number))]).engine_id == fake.engine_id
            assert client.begin_listing()().engine_id == fake.engine_id
        assert fake.requests["/info"] == 1
        fake.drop_connections()
        assert client.begin_listing()().engine_id == fake.engine_id
        assert fake.requests["/info"] == 2


def test_a_swapped_engine_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    """R18: the old engine lives on behind the old connections; what the new one lists goes under the new id."""
    path = tmp_path / "docker.sock"
    with FakeDocker(engine_id="OLD") as old, FakeDocker(engine_id="NEW") as new:
        old.keep_alive = False  # as if its connections ended with each answer
        path.symlink_to(old.socket_path)
        with contextlib.closing(EngineClient(Endpoint(f"unix://{path}"))) as client:
            assert client.list_containers().engine_id == "OLD"
            assert client.version().server
            path.unlink()
            path.symlink_to(new.socket_path)
            assert client.list_containers([id_of("a")]).engine_id == "NEW"
            assert client.begin_listing()().engine_id == "NEW"
