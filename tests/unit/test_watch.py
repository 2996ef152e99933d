"""`controller.loop.watch`: events become looks at containers; whatever the stream loses, a resync finds."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from controller.engine.endpoint import Endpoint
from controller.engine.events import EventStream
from controller.loop.watch import Watch, WatchHooks
from tests.fakes import FakeDocker, FakeWorld, Fault
from tests.harness import wait_until


@dataclass
class Told:
    """All that a watch has told."""

    connections: list[bool] = field(default_factory=list)
    actions: Counter[str] = field(default_factory=Counter)
    touched: list[str] = field(default_factory=list)
    resyncs: int = 0

    @property
    def hooks(self) -> WatchHooks:
        """As the watch takes them."""
        return WatchHooks(
            self.connections.append, lambda action: self.actions.update([action]), self.touched.append, self.resync
        )

    def resync(self) -> None:
        """The hook."""
        self.resyncs += 1


@pytest.fixture
def told() -> Told:
    """Nothing yet."""
    return Told()


@pytest.fixture
def watch(docker: FakeDocker, told: Told) -> Iterator[Watch]:
    """On `docker`, not started; stopped in the end."""
    each = Watch(lambda: EventStream(Endpoint(docker.endpoint), idle_seconds=0.3), told.hooks, random.Random(1))
    yield each
    each.stop()
    wait_until(lambda: "watch" not in {thread.name for thread in threading.enumerate()}, what="the thread ends")


def test_it_subscribes_and_then_asks_for_a_listing(watch: Watch, told: Told, world: FakeWorld) -> None:
    """R20: in this order nothing falls between; then each event names its container."""
    watch.start()
    wait_until(lambda: told.resyncs, what="a resync")
    assert told.connections[0] is True
    container = world.run()
    wait_until(lambda: len(told.touched) == 2, what="two events")
    assert told.touched == [container, container]
    assert told.actions == {"create": 1, "start": 1}


def test_a_silent_stream_is_opened_anew_without_a_resync(watch: Watch, told: Told, docker: FakeDocker) -> None:
    """R20: nothing was lost if nothing happened, since the new one replays from before the last event."""
    docker.world.run()
    watch.start()
    wait_until(lambda: docker.requests["/events"] >= 3, what="a third stream")
    assert told.resyncs == 1
    assert set(told.connections) == {True}


def test_an_event_between_two_streams_is_replayed(watch: Watch, told: Told, docker: FakeDocker) -> None:
    """R20: the new stream begins before the last event of the old one."""
    watch.start()
    wait_until(lambda: told.resyncs, what="a resync")
    first = docker.world.run()
    wait_until(lambda: first in told.touched, what="an event")
    docker.world.events_muted = True
    unheard = docker.world.run()
    docker.world.events_muted = False
    wait_until(lambda: unheard in told.touched, what="the replay")


@pytest.mark.parametrize("how", ["ended", "broken", "refused"])
def test_a_lost_stream_is_replaced_and_followed_by_a_resync(
    watch: Watch, told: Told, docker: FakeDocker, how: str
) -> None:
    """R20: it reconnects for ever; the loss and the return are logged once each."""
    watch.start()
    wait_until(lambda: told.resyncs, what="a resync")
    with capture_logs() as logs:
        docker.answer_with("/events", Fault.ERROR if how == "refused" else Fault.CLOSE)
        docker.drop_connections() if how == "broken" else docker.world.end_event_streams()
        wait_until(lambda: told.connections.count(False) >= 2, what="two failures")
        docker.answer_normally()
        before = told.resyncs
        wait_until(lambda: told.resyncs > before, what="a resync after the return")
    assert told.connections[-1] is True
    events = [entry["event"] for entry in logs]
    assert events == ["event stream lost; ticks go on", "event stream connected again"]


def test_garbage_on_the_stream_does_not_end_the_watch(watch: Watch, told: Told, docker: FakeDocker) -> None:
    """R20: whatever an engine sends, the next stream is tried."""
    docker.answer_with("/events", b'{"Action": "start", "Actor": {"ID": "a"}, "timeNano": 1e400}\n')
    watch.start()
    wait_until(lambda: told.connections.count(False) >= 2, what="two failures")
    docker.answer_normally()
    before = told.resyncs
    wait_until(lambda: told.resyncs > before, what="a good stream")
    container = docker.world.run()
    wait_until(lambda: container in told.touched, what="its events")


def test_stop_ends_a_stream_on_which_nothing_comes(watch: Watch, told: Told, docker: FakeDocker) -> None:
    """R3: at any time, and more than once."""
    watch.start()
    wait_until(lambda: told.resyncs, what="a resync")
    watch.stop()
    watch.stop()
    wait_until(lambda: "watch" not in {thread.name for thread in threading.enumerate()}, what="the thread ends")
