"""`controller.engine.calls`: a blocking call is bounded in time, and can be given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from controller.engine.calls import Abandoned, Calls
from controller.errors import EngineAnswerInvalid, EngineCallCancelled, EngineTimeout
from tests.harness import wait_until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging calls wait for; opened in the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def calls() -> Iterator[Calls]:
    """Calls that are cancelled in the end, so that no thread waits for another one."""
    made = Calls()
    yield made
    made.cancel()


def run(calls: Calls, call: object, timeout_seconds: float = 10.0) -> object:
    """Begin and finish."""
    return calls.finish("list", calls.begin("list", call), timeout_seconds)  # type: ignore[arg-type]


def test_a_call_returns_what_it_returns(calls: Calls) -> None:
    """House: one that is in time is as if it were called."""
    assert run(calls, lambda _abandoned: 42) == 42


@pytest.mark.parametrize("error", [EngineAnswerInvalid("no"), ValueError("x"), TimeoutError("own"), SystemExit(3)])
def test_a_call_raises_what_it_raises(calls: Calls, error: BaseException) -> None:
    """R6: a failure is the caller's to see, also one that looks like our own time-out."""

    def call(_abandoned: Abandoned) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        run(calls, call)
    assert raised.value is error


def test_a_late_call_is_given_up(calls: Calls, gate: threading.Event) -> None:
    """R6, pitfall 2: at the deadline, whatever the call does; it can see that nobody waits any more."""
    seen: list[bool] = []

    def call(abandoned: Abandoned) -> None:
        gate.wait(10)
        seen.append(abandoned())

    with pytest.raises(EngineTimeout, match=r"list: no complete answer from the engine within 0\.05 s"):
        run(calls, call, 0.05)
    gate.set()
    wait_until(lambda: seen, what="the call ends")
    assert seen == [True]


def test_the_time_that_has_passed_already_counts(calls: Calls, gate: threading.Event) -> None:
    """R6: a call in two steps has one deadline, and the message names the time-out that was set."""
    future = calls.begin("list", lambda _abandoned: gate.wait(10))
    with pytest.raises(EngineTimeout, match="within 60 s"):
        calls.finish("list", future, 60.0, waited_seconds=61.0)


def test_cancel_frees_all_who_wait_and_refuses_who_comes_later(calls: Calls, gate: threading.Event) -> None:
    """R3: from now on, for good."""
    futures = [calls.begin("list", lambda _abandoned: gate.wait(10)) for _ in range(3)]
    calls.cancel()
    for future in futures:
        with pytest.raises(EngineCallCancelled, match="the controller stops"):
            calls.finish("list", future, 10.0)
    with pytest.raises(EngineCallCancelled, match="not called"):
        calls.begin("list", lambda _abandoned: 1)
    calls.cancel()


def test_a_call_that_is_done_is_not_undone_by_cancel(calls: Calls) -> None:
    """R3: what was answered stays answered."""
    future = calls.begin("list", lambda _abandoned: 42)
    wait_until(future.done, what="the call ends")
    calls.cancel()
    assert calls.finish("list", future, 10.0) == 42


def test_one_thread_serves_calls_that_follow_each_other(calls: Calls) -> None:
    """P4: none is started for a call while one is at rest, and who is told an outcome finds it at rest already."""
    threads = {run(calls, lambda _abandoned: threading.current_thread()) for _ in range(50)}
    assert len(threads) == 1
    calls.cancel()
    wait_until(lambda: not any(each.is_alive() for each in threads), what="cancel ends it")  # type: ignore[attr-defined]


def test_a_call_that_was_left_behind_is_not_waited_for_by_the_next(calls: Calls, gate: threading.Event) -> None:
    """R3, R6: the next call has another thread; of two that are at rest in the end, one stays."""
    hung: list[threading.Thread] = []

    def hang(_abandoned: Abandoned) -> None:
        hung.append(threading.current_thread())
        gate.wait(10)

    with pytest.raises(EngineTimeout):
        run(calls, hang, 0.05)
    assert run(calls, lambda _abandoned: threading.current_thread()) is not hung[0]
    gate.set()
    wait_until(lambda: not hung[0].is_alive(), what="it ends by itself")
    calls.cancel()
