"""`controller.engine.events`: hints from the engine, on a connection of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import orjson
import pytest

from controller.engine.endpoint import Endpoint
from controller.engine.events import EngineEvent, EventStream
from controller.errors import (
    EngineAnswerInvalid,
    EngineCallCancelled,
    EngineError,
    EngineTimeout,
    EngineUnreachable,
)
from tests.fakes import FakeDocker, FakeWorld, Fault
from tests.harness import wait_until


class Reader:
    """Reads a stream on a thread of its own, to its end."""

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream
        self.events: list[EngineEvent] = []
        self.error: EngineError | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self.stream:
                self.events.append(event)
        except EngineError as error:
            self.error = error
        finally:
            self.stream.release()

    @property
    def told(self) -> list[tuple[str, str]]:
        """Action and container of each event."""
        return [(event.action, event.container_id) for event in self.events]

    def join(self) -> EngineError | None:
        """Wait for the end; what it was."""
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.error


@pytest.fixture
def stream(docker: FakeDocker) -> Iterator[EventStream]:
    """Not open yet; given back in the end."""
    each = EventStream(Endpoint(docker.endpoint), idle_seconds=30)
    yield each
    each.close()
    each.release()


def test_events_arrive_as_they_happen(stream: EventStream, world: FakeWorld) -> None:
    """R20: action and container of each, from the moment of the subscription on."""
    world.run("before")
    stream.open(None)
    reader = Reader(stream)
    container = world.run("after")
    world.set_health(container, "healthy")
    world.rm(container)
    actions = ["create", "start", "health_status", "kill", "die", "destroy"]
    wait_until(lambda: len(reader.events) == len(actions), what="six events")
    assert reader.told == [(action, container) for action in actions]
    stream.close()
    assert isinstance(reader.join(), EngineCallCancelled)


def test_past_events_are_replayed(stream: EventStream, world: FakeWorld) -> None:
    """R20: from a time on, as far as the engine remembers them."""
    begun = time.time()
    for number in range(200):
        world.create(f"c{number}")
    stream.open(begun - 2)
    reader = Reader(stream)
    wait_until(lambda: len(reader.events) == 200, what="all that happened")
    assert all(event.at >= begun - 2 for event in reader.events)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.ERROR, EngineAnswerInvalid), (Fault.CLOSE, EngineUnreachable), (Fault.EMPTY, EngineUnreachable)],
)
def test_a_stream_that_cannot_be_opened(
    docker: FakeDocker, stream: EventStream, fault: Fault, error: type[EngineError]
) -> None:
    """R20: an error of ours, whatever the engine does instead."""
    with docker.answering("/events", fault), pytest.raises(error, match="events"):
        stream.open(None)
        list(stream)


def test_an_engine_that_is_not_there(tmp_path: object) -> None:
    """R20: as for every other call."""
    lost = EventStream(Endpoint(f"unix://{tmp_path}/docker.sock"))
    with pytest.raises(EngineUnreachable, match="cannot reach the engine"):
        lost.open(None)
    lost.release()


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda docker: docker.world.end_event_streams(), EngineUnreachable),
        (lambda docker: docker.drop_connections(), EngineUnreachable),
    ],
    ids=["ended", "broken"],
)
def test_the_end_of_a_stream_is_an_error(
    docker: FakeDocker, stream: EventStream, end: Callable[[FakeDocker], None], error: type[EngineError]
) -> None:
    """R20, pitfall 3: also where it ends as if all were well."""
    stream.open(None)
    reader = Reader(stream)
    docker.world.run()
    wait_until(lambda: reader.events, what="it is open")
    end(docker)
    assert isinstance(reader.join(), error)


def test_a_silent_stream_is_given_up(docker: FakeDocker, world: FakeWorld) -> None:
    """R20, pitfall 3: nothing for so long may mean that nothing comes any more."""
    world.events_muted = True
    silent = EventStream(Endpoint(docker.endpoint), idle_seconds=0.2)
    silent.open(None)
    reader = Reader(silent)
    world.run()
    assert isinstance(reader.join(), EngineTimeout)
    assert reader.events == []


def test_a_stream_can_be_closed_before_it_is_open(docker: FakeDocker, stream: EventStream) -> None:
    """R3: stop may come at any time."""
    stream.close()
    with pytest.raises(EngineCallCancelled):
        stream.open(None)
    stream.close()


def line(**replaced: object) -> bytes:
    """One event as API 1.52 tells it: without `status`, `id` and `from`."""
    told = {"Type": "container", "Action": "start", "Actor": {"ID": "abc"}, "timeNano": 1_700_000_000_500_000_000}
    return orjson.dumps(told | replaced) + b"\n"


def read(docker: FakeDocker, stream: EventStream, body: bytes) -> list[EngineEvent]:
    """What a stream of these bytes tells before it ends."""
    with docker.answering("/events", body):
        stream.open(None)
    reader = Reader(stream)
    error = reader.join()
    if not isinstance(error, EngineUnreachable):
        assert error is not None
        raise error
    return reader.events


def test_only_what_every_version_tells_is_used(docker: FakeDocker, stream: EventStream) -> None:
    """Pitfall 4: `Action` and `Actor.ID`; lines without a container, and empty ones, are passed over."""
    body = line() + b"\n" + line(Actor={"ID": ""}) + line(Action="health_status: healthy") + line(timeNano=None)
    assert read(docker, stream, body) == [
        EngineEvent("start", "abc", 1_700_000_000.5),
        EngineEvent("health_status", "abc", 1_700_000_000.5),
        EngineEvent("start", "abc", 0.0),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"oops\n",
        b"null\n",
        b"[]\n",
        b"7\n",
        b"{}\n",
        b'{"Action": "start"}\n',
        b'{"Action": "start", "Actor": null}\n',
        b'{"Action": "start", "Actor": {"ID": "a"}, "timeNano": "late"}\n',
        b'{"Action": "start", "Actor": {"ID": "a"}, "timeNano": 1e400}\n',
        b'{"Action": "start", "Actor": {"ID": "a"}, "timeNano": [1]}\n',
        b"\xff\xfe\n",
    ],
)
def test_a_line_that_is_no_event(docker: FakeDocker, stream: EventStream, body: bytes) -> None:
    """R20: an error that has the stream opened anew, and no other exception; what came before it counts."""
    with docker.answering("/events", line() + body):
        stream.open(None)
    reader = Reader(stream)
    assert isinstance(reader.join(), EngineAnswerInvalid)
    assert reader.told == [("start", "abc")]
