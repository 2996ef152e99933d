"""`controller.loop.schedule`: how the loop ends, whatever the engine or a plugin does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from controller.errors import EngineCallCancelled
from controller.loop.report import TickOutcome
from controller.loop.schedule import (
    Loop,
)
from store.database import Database
from store.workloads import apply_workloads
from tests.builders import NOW
from tests.fakes import FakeDocker, Fault
from tests.harness import wait_until
from tests.unit.loops import Running, loop_threads
from tests.unit.plugins import Zoo, declared

LISTING = "/containers/json"


def test_stop_while_the_engine_hangs(running: Running, docker: FakeDocker) -> None:
    """R3: the call in flight is cancelled first, so stop returns and the thread has ended."""
    loop = running.started()
    docker.answer_with(LISTING, Fault.HANG)
    with ThreadPoolExecutor(1) as pool:
        forced = pool.submit(loop.force, 60.0)
        wait_until(lambda: docker.held, what="a pass hangs")
        stopping = stopping_thread_of(loop)
        wait_until(lambda: not stopping.is_alive(), 2.0, "stop returns within two seconds")
        assert not loop_threads()
        assert forced.result(10).outcome is TickOutcome.CANCELLED
    assert docker.held == 1, "the engine never answered"


def stopping_thread_of(loop: Loop) -> threading.Thread:
    """Stop in a thread of its own."""
    stopping = threading.Thread(target=loop.stop)
    stopping.start()
    return stopping


def test_stop_while_a_plugin_hangs(running: Running, database: Database, zoo: Zoo) -> None:
    """R3, R15: nor does a plugin that never answers keep the loop."""
    loop = running.started()
    apply_workloads(database, [declared("w", "hangs")], NOW)
    loop.request()
    assert zoo.hanging.acquire(timeout=10)
    stopping = stopping_thread_of(loop)
    wait_until(lambda: not stopping.is_alive(), 2.0, "stop returns within two seconds")
    assert not loop_threads()


def test_start_and_stop_are_idempotent(running: Running) -> None:
    """R3: either can be repeated, in any order, from several threads."""
    loop = running.started()
    loop.start()
    loop.start()
    assert len(loop_threads()) == 1
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: loop.stop(), range(3)))
    loop.stop()
    assert not loop_threads()
    loop.start()
    assert not loop_threads()


def test_stop_before_start(running: Running) -> None:
    """R3: such a loop never runs a pass."""
    loop = running.loop()
    loop.stop()
    loop.start()
    wait_until(lambda: not loop_threads(), what="the thread ends by itself")
    assert running.reports == []


def test_a_stopped_loop_refuses_to_be_forced(running: Running, docker: FakeDocker) -> None:
    """R3, R4: whoever waits is told, and whoever comes later too."""
    loop = running.loop()
    with ThreadPoolExecutor(1) as pool:
        forced = pool.submit(loop.force, 60.0)
        wait_until(lambda: loop._waiting is not None, what="a call waits for a loop that is not started")
        loop.stop()
        with pytest.raises(EngineCallCancelled, match="the controller stops"):
            forced.result(10)
    with pytest.raises(EngineCallCancelled, match="the controller stops"):
        loop.force(1)
    assert docker.requests[LISTING] == 0


def test_the_loop_can_be_stopped_by_who_it_tells(running: Running) -> None:
    """R3: from its own thread, without waiting for itself."""
    running.told = lambda _report: running.loops[0].stop()
    running.started()
    wait_until(lambda: not loop_threads(), what="the loop ends")
