"""How long the source `image` drains, on a real engine: as long as somebody is there, and no longer (D8)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from controller.engine.containers import ContainerSpec
from controller.plugins.contract import Done
from tests.harness import BUSYBOX, World, wait_until
from tests.integration.deploys import Deploys

LONG = 3600


@contextlib.contextmanager
def session(deploys: Deploys, name: str = "shop-1-1") -> Iterator[None]:
    """A visitor who has asked for half a page."""
    address = deploys.inspected(name)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    with contextlib.closing(socket.create_connection((address, 8080), 5)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n")
        yield


class Drain(threading.Thread):
    """A drain under way."""

    def __init__(self, deploys: Deploys, revision_id: str) -> None:
        super().__init__(daemon=True)
        self._call = lambda: deploys.source.drain(deploys.read(), revision_id)
        self.done: list[Done] = []
        self.start()

    def run(self) -> None:
        """Do it."""
        self.done.append(self._call())

    def checks(self) -> Any:
        """What it said, when it has ended."""
        self.join(60)
        return self.done[0].checks


def test_nobody_is_there(deploys: Deploys) -> None:
    """D8: it does not wait for hours."""
    revision = deploys.up(BUSYBOX, replicas=2, drain_seconds=LONG)
    said = deploys.source.drain(deploys.read(), revision).checks
    assert said["sessions"].startswith("nobody is connected any more")
    assert set(deploys.states().values()) == {"exited"}


def test_a_session_is_waited_for(deploys: Deploys) -> None:
    """D8: on any of the containers, and for as long as it takes."""
    revision = deploys.up(BUSYBOX, replicas=2, drain_seconds=LONG)
    with session(deploys, "shop-1-2"):
        deploys.requests.clear()
        drain = Drain(deploys, revision)
        wait_until(lambda: deploys.requests.count("inspect") > 40, 60, "it has looked again and again")
        assert drain.is_alive()
        assert set(deploys.states().values()) == {"running"}
    assert drain.checks()["sessions"].startswith("nobody is connected any more")


def test_a_session_has_its_time_and_no_more(deploys: Deploys) -> None:
    """D8: who does not end is cut off."""
    revision = deploys.up(BUSYBOX, drain_seconds=1)
    with session(deploys):
        said = deploys.source.drain(deploys.read(), revision).checks
    assert said["sessions"] == f"had their 1 s; 1 connections to {deploys.prefix}-shop-1-1"


def test_a_router_that_does_not_follow_is_waited_for(deploys: Deploys) -> None:
    """D8, T6: it may send somebody at any moment."""
    revision = deploys.up(BUSYBOX, drain_seconds=LONG)
    deploys.elsewhere = "router x has not taken the split over"
    deploys.requests.clear()
    drain = Drain(deploys, revision)
    wait_until(lambda: "list_labelled" in deploys.requests, what="it has begun")
    assert set(deploys.states().values()) == {"running"}
    deploys.elsewhere = ""
    assert drain.checks()["sessions"].startswith("nobody is connected any more")


@pytest.mark.parametrize(
    ("options", "elsewhere", "said"),
    [
        ({}, "no router tells what it has in force", "no router tells what it has in force"),
        ({"port": None}, "", "without a port nothing says when the work is done"),
    ],
)
def test_where_it_cannot_be_known_the_whole_time_passes(
    deploys: Deploys, options: dict[str, Any], elsewhere: str, said: str
) -> None:
    """D8: and that is said."""
    revision = deploys.up(BUSYBOX, drain_seconds=1, **options)
    deploys.elsewhere = elsewhere
    assert deploys.source.drain(deploys.read(), revision).checks["sessions"] == f"had their 1 s; {said}"


def test_what_the_engine_verbs_count(deploys: Deploys, world: World) -> None:
    """D8: of a container that runs, that has ended, that is gone, and that shares this machine's network."""
    deploys.up(BUSYBOX)
    container = deploys.inspected("shop-1-1")["Id"]
    wait_until(lambda: deploys.verbs.open_connections(container) == 0, what="whoever looked whether it answers left")
    with session(deploys), session(deploys):
        assert deploys.verbs.open_connections(container) == 2
    wait_until(lambda: deploys.verbs.open_connections(container) == 0, what="both have left")
    deploys.verbs.stop_container(container, 0)
    assert deploys.verbs.open_connections(container) == 0
    assert deploys.verbs.open_connections("nobody") == 0
    label = {f"{deploys.prefix}.workload.id": "shop"}
    shared = ContainerSpec(f"{world.prefix}-shared", BUSYBOX, label, command=("sleep", "1000"), networks=("host",))
    made = deploys.verbs.create_container(shared)
    deploys.verbs.start_container(made)
    assert deploys.verbs.open_connections(made) is None
