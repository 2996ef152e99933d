"""The watch under load, on a real engine: more events than the engine remembers, and starts among much else."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from store.records import MISSING
from tests.harness import PrivateEngine, World, wait_until
from tests.integration.console import Console, Controller, Tallyd, settings_of
from tests.integration.proxies import StreamProxy

CONNECTED = "tallyd_event_stream_connected"
COMPLETE = 'tallyd_ticks_total{outcome="complete"}'
REMEMBERED = 256
NOISE = REMEMBERED + 60
LABELS = {"tallyd.workload.id": "app"}
STARTERS = 3
STARTED = 60
LIFECYCLES = 500
CREATORS = 2
"""Each life has two events, `create` and `destroy`, so that many more than 50 events a second come for some time."""


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


def following(console: Console, endpoint: str, url: str, folder: Path) -> Tallyd:
    """`tallyd` whose ticks are so far apart that none explains what it knows; its stack `app` is declared."""
    settings = settings_of(endpoint, url, folder, TALLYD_INTERVAL_SECONDS="300")
    tallyd = Tallyd(console, folder, settings)
    tallyd.apply({"id": "app", "kind": "stack"})
    return tallyd


def connected(tallyd: Tallyd, controller: Controller) -> None:
    """Wait until its stream is there and what it asked for then is listed; a forced pass comes after both."""
    controller.wait_ready()
    controller.wait_for_metric(CONNECTED, 1)
    tallyd.tick()


def states_of(controller: Controller) -> dict[str, str]:
    """Container → state, by the index."""
    return {str(row["container_id"]): str(row["state"]) for row in controller.rows().values()}


def truth_of(world: World, gone: Sequence[str]) -> dict[str, str]:
    """Container → state as the index has to say it, by the engine."""
    ours = [item for item in world.listing() if item["Labels"].get("tallyd.workload.id")]
    return dict.fromkeys(gone, MISSING) | {item["Id"]: item["State"] for item in ours}


def change_unseen(world: World, standing: Sequence[str]) -> list[str]:
    """Changes that matter, then so many events that the engine forgets those; returns the containers removed."""
    began = time.time()
    noisy = world.create()
    changed = {*world.many(10, LABELS), *standing[:10]}
    for container in standing[:5]:
        world.rm(container)
    for container in standing[5:10]:
        world.start(container)
    for number in range(NOISE):
        world.rename(noisy, f"{world.prefix}-noise-{number}")
    replayed = world.client.events(since=int(began), until=int(time.time()) + 1, filters={"type": "container"})
    told = [orjson.loads(line) for piece in replayed for line in piece.splitlines() if line.strip()]
    assert len(told) == REMEMBERED
    assert not changed & {event["Actor"]["ID"] for event in told}, "the engine has forgotten what matters"
    return list(standing[:5])


def test_more_events_than_the_engine_remembers_while_the_stream_is_away(
    console: Console, own_engine: PrivateEngine, own_world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R20, pitfall 4: nothing replays what happened; the reconnection lists, and the index ends true."""
    standing = own_world.many(20, LABELS)
    with contextlib.closing(StreamProxy(own_engine.socket_path, tmp_path / "proxy.sock")) as proxy:
        tallyd = following(console, proxy.endpoint, sqlite_url, tmp_path)
        with tallyd.running() as controller:
            connected(tallyd, controller)
            proxy.refuse_streams()
            wait_until(lambda: controller.metric(CONNECTED) == 0, 30, "the loss is seen")
            ticks = controller.metric(COMPLETE)
            gone = change_unseen(own_world, standing)
            assert states_of(controller) == dict.fromkeys(standing, "created"), "it cannot know yet"
            proxy.allow_streams()
            controller.wait_for_metric(CONNECTED, 1, 60)
            wait_until(lambda: states_of(controller) == truth_of(own_world, gone), 30, "the index is true")
            assert controller.metric(COMPLETE) > ticks


def test_more_events_than_the_engine_remembers_while_the_reader_is_blocked(
    console: Console, own_engine: PrivateEngine, own_world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R20: a controller that is stopped reads no event; once it goes on, the index ends true."""
    standing = own_world.many(20, LABELS)
    tallyd = following(console, own_engine.endpoint, sqlite_url, tmp_path)
    with tallyd.running() as controller:
        connected(tallyd, controller)
        os.kill(controller.process.pid, signal.SIGSTOP)
        try:
            gone = change_unseen(own_world, standing)
        finally:
            os.kill(controller.process.pid, signal.SIGCONT)
        wait_until(lambda: states_of(controller) == truth_of(own_world, gone), 30, "the index is true")


class Churn:
    """Starts that go on as fast as the engine can, beside containers that come and go much faster."""

    def __init__(self, engine: PrivateEngine, startable: Sequence[str]) -> None:
        self._engine = engine
        self._startable = iter(startable)
        self._lock = threading.Lock()
        self._lives = itertools.count()

    def begin(self, pool: ThreadPoolExecutor) -> list[Future[None]]:
        """Have the workers of a pool at it."""
        return [
            *(pool.submit(self._start_all) for _ in range(STARTERS)),
            *(pool.submit(self._create_and_remove) for _ in range(CREATORS)),
        ]

    def _start_all(self) -> None:
        with contextlib.closing(self._engine.client()) as client:
            while (container := self._next()) is not None:
                client.start(container)

    def _next(self) -> str | None:
        with self._lock:
            return next(self._startable, None)

    def _create_and_remove(self) -> None:
        with contextlib.closing(self._engine.client()) as client:
            while next(self._lives) < LIFECYCLES:
                made = client.create_container("busybox:local", ["true"], labels=LABELS)["Id"]
                client.remove_container(made, force=True)


def test_starts_among_much_coming_and_going(
    console: Console, own_engine: PrivateEngine, own_world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """P6, R14, R20, F: no start is lost, no container that is there is ever called missing, and all ends true.

    No tick runs meanwhile: what the index knows in the end it knows by events.
    """
    standing = own_world.many(STARTED, LABELS)
    tallyd = following(console, own_engine.endpoint, sqlite_url, tmp_path)
    with tallyd.running() as controller, ThreadPoolExecutor(STARTERS + CREATORS) as pool:
        connected(tallyd, controller)
        work = Churn(own_engine, standing).begin(pool)
        looks = 0
        while not all(each.done() for each in work):
            known = states_of(controller)
            assert {known[each] for each in standing} <= {"created", "running"}
            looks += 1
        for each in work:
            each.result()
        assert looks > 1
        wait_until(
            lambda: (
                {each: state for each, state in states_of(controller).items() if state != MISSING}
                == dict.fromkeys(standing, "running")
            ),
            60,
            "the index is what is there",
        )
