"""`controller.loop.converge`: no workload's plugin can hurt another one, or the next pass."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from controller.loop.converge import (
    FIRST_BACKOFF_SECONDS,
    LAST_BACKOFF_SECONDS,
    ConvergeLimits,
    Converger,
    Reconciled,
    count_results,
    malformed_faces,
    requests_for,
)
from controller.plugins.contract import Outcome, PublicFace, ReconcileRequest, Result, Retry, Terminal
from tests.builders import HOST, assignment, workload
from tests.harness import wait_until
from tests.unit.plugins import Zoo, declared, request_for

SEED = 7


class Clock:
    """A monotonic clock that goes only when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


def converger(zoo: Zoo, clock: Any = None, **limits: Any) -> Converger:
    """A converger for the zoo, with its chance seeded."""
    more = {} if clock is None else {"monotonic": clock}
    return Converger(zoo.registry, ConvergeLimits(**limits), chance=random.Random(SEED), **more)


def by_workload(reconciled: Sequence[Reconciled]) -> dict[str, str]:
    """Workload id → result; a workload that occurs twice is an error."""
    results = {each.workload_id: each.result for each in reconciled}
    assert len(results) == len(reconciled), reconciled
    return results


ANSWERS = {
    "fine": "in_sync",
    "repairs": "repaired",
    "raises": "failed",
    "exits": "failed",
    "interrupts": "failed",
    "garbage": "failed",
    "nothing": "failed",
    "garbage-result": "failed",
    "unspeakable": "failed",
    "retries": "retry",
    "terminates": "terminal",
    "misconfigured": "unusable",
    "not-installed": "unusable",
}


def test_every_behaviour_has_its_result(zoo: Zoo) -> None:
    """R15: a plugin that raises, exits, is interrupted or returns garbage is a failure of its workload alone."""
    reconciled = converger(zoo).run_pass([request_for(f"w-{kind}", kind) for kind in ANSWERS])
    assert by_workload(reconciled) == {f"w-{kind}": result for kind, result in ANSWERS.items()}
    assert all(each.called for each in reconciled)
    messages = {each.workload_id: each.message for each in reconciled}
    assert messages["w-raises"] == "ValueError: no such thing"
    assert messages["w-repairs"] == "started web"
    assert messages["w-retries"] == "image not pulled yet"
    assert "dict instead of an Outcome" in messages["w-garbage"]
    assert "'not-installed' is not installed" in messages["w-not-installed"]
    assert "SystemExit" in messages["w-exits"]


def test_a_hanging_plugin_stops_nobody(zoo: Zoo) -> None:
    """R15: it runs out of time, the others are served, and it is not called again while it hangs."""
    each = converger(zoo, workers=2, deadline_seconds=0.1, pass_seconds=60.0)
    requests = [request_for(f"stuck-{n}", "hangs") for n in range(3)] + [
        request_for(f"w{n}", "fine") for n in range(5)
    ]
    results = by_workload(each.run_pass(requests))
    assert results == {f"stuck-{n}": "timeout" for n in range(3)} | {f"w{n}": "in_sync" for n in range(5)}
    for _ in range(3):
        assert by_workload(each.run_pass(requests))["stuck-0"] == "in_flight"
    assert zoo.calls["stuck-0"] == 1
    assert zoo.calls["w0"] == 4


def test_a_plugin_that_came_back_is_called_again_after_its_back_off(zoo: Zoo, clock: Clock) -> None:
    """R15: the late answer is dropped, and the time-out counts as a failure."""

    def go_on(*_: object) -> bool:
        clock.now += 10.0
        return False

    each = converger(zoo, clock, deadline_seconds=20.0, pass_seconds=1000.0)
    request = [request_for("stuck", "hangs")]
    assert by_workload(each.run_pass(request, interrupted=go_on)) == {"stuck": "timeout"}
    zoo.release()
    wait_until(lambda: by_workload(each.run_pass(request)) == {"stuck": "backoff"}, what="the late call ends")
    clock.now += FIRST_BACKOFF_SECONDS
    assert by_workload(each.run_pass(request)) == {"stuck": "in_sync"}
    assert zoo.calls["stuck"] == 2


def test_the_pool_is_bounded(zoo: Zoo) -> None:
    """R15: so many calls at the same time and no more."""
    running, most, lock = 0, 0, threading.Lock()
    three = threading.Barrier(3)

    def busy(_request: ReconcileRequest) -> Outcome:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        three.wait(10)  # nobody goes on before three run together
        with lock:
            running -= 1
        return Outcome(Result.IN_SYNC)

    many = Zoo(busy=busy)
    reconciled = converger(many, workers=3).run_pass([request_for(f"w{n}", "busy") for n in range(12)])
    assert count_results(reconciled) == {"in_sync": 12}
    assert most == 3


def test_a_pass_has_an_end(zoo: Zoo, clock: Clock) -> None:
    """R15: calls that outlive the pass are taken up by the next one, and what found no place waits for it."""

    def go_on() -> bool:
        clock.now += 3.0
        return False

    each = converger(zoo, clock, workers=1, deadline_seconds=100.0, pass_seconds=5.0)
    requests = [request_for("slow", "hangs"), request_for("next", "fine")]
    first = each.run_pass(requests, interrupted=go_on)
    assert by_workload(first) == {"slow": "in_flight", "next": "deferred"}
    assert not any(one.called for one in first)
    assert by_workload(each.run_pass(requests, interrupted=go_on)) == {"slow": "in_flight", "next": "deferred"}
    zoo.release()
    results: dict[str, str] = {}
    wait_until(lambda: results.update(by_workload(each.run_pass(requests))) or "slow" in results, what="an answer")
    assert results == {"slow": "in_sync", "next": "in_sync"}


def test_a_call_that_ends_between_two_passes_counts_once(zoo: Zoo) -> None:
    """R15, O5: an answer is reported by the pass that finds it, and never beside another result."""
    each = converger(zoo)
    request = [request_for("slow", "hangs")]
    assert by_workload(each.run_pass(request, interrupted=lambda: True)) == {"slow": "in_flight"}
    assert zoo.hanging.acquire(timeout=10)
    zoo.release()
    results = wait_until(
        lambda: [one for one in each.run_pass(request) if one.message == "at last"], what="the answer is found"
    )
    assert by_workload(results) == {"slow": "in_sync"}


def test_an_interrupted_pass_does_not_wait(zoo: Zoo) -> None:
    """R15, R20: somebody waits for the next pass, so this one leaves its plugins running."""
    each = converger(zoo)
    results = each.run_pass([request_for("slow", "hangs")], interrupted=lambda: True)
    assert by_workload(results) == {"slow": "in_flight"}


def test_stop_ends_a_pass(zoo: Zoo) -> None:
    """R3: a plugin that never answers does not keep the controller from stopping."""
    each = converger(zoo)
    found: list[Reconciled] = []
    running = threading.Thread(target=lambda: found.extend(each.run_pass([request_for("slow", "hangs")])))
    running.start()
    assert zoo.hanging.acquire(timeout=10)
    each.stop()
    running.join(10)
    assert not running.is_alive()
    assert by_workload(found) == {"slow": "in_flight"}


def test_failures_back_off_exponentially_with_jitter(zoo: Zoo, clock: Clock) -> None:
    """R15: from 5 s on twice as long each time, up to ten minutes, times a half to one by chance."""
    each, chance = converger(zoo, clock), random.Random(SEED)
    request = [request_for("bad", "raises")]
    for failure in range(12):
        assert by_workload(each.run_pass(request)) == {"bad": "failed"}
        backoff = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**failure) * chance.uniform(0.5, 1.0)
        clock.now += backoff - 0.001
        assert by_workload(each.run_pass(request)) == {"bad": "backoff"}
        clock.now += 0.002
    assert zoo.calls["bad"] == 12


def test_success_ends_the_back_off(clock: Clock) -> None:
    """R15: the next failure begins anew."""
    outcomes = itertools.cycle([ValueError("x"), ValueError("x"), None])

    def sometimes(_request: ReconcileRequest) -> Outcome:
        error = next(outcomes)
        if error is not None:
            raise error
        return Outcome(Result.IN_SYNC)

    zoo = Zoo(sometimes=sometimes)
    each, chance = converger(zoo, clock), random.Random(SEED)
    request = [request_for("w", "sometimes")]
    for _ in range(2):
        for factor in (1, 2):
            assert by_workload(each.run_pass(request)) == {"w": "failed"}
            clock.now += FIRST_BACKOFF_SECONDS * factor * chance.uniform(0.5, 1.0) + 0.001
        assert by_workload(each.run_pass(request)) == {"w": "in_sync"}


def test_back_off_is_per_workload(zoo: Zoo, clock: Clock) -> None:
    """R15: two workloads of one source, one of which fails, do not share it."""
    zoo.sources["raises"].reconcile = _failing_for("bad", zoo.sources["raises"].reconcile)
    each = converger(zoo, clock)
    requests = [request_for("bad", "raises"), request_for("good", "raises")]
    each.run_pass(requests)
    assert by_workload(each.run_pass(requests)) == {"bad": "backoff", "good": "in_sync"}


def _failing_for(workload_id: str, fail: Any) -> Any:
    return lambda request: fail(request) if request.workload.id == workload_id else Outcome(Result.IN_SYNC)


def test_retry_is_no_failure(zoo: Zoo, clock: Clock) -> None:
    """R15: asked again after exactly the time that the plugin named, however often."""
    each = converger(zoo, clock)
    request = [request_for("w", "retries")]
    for _ in range(3):
        assert by_workload(each.run_pass(request)) == {"w": "retry"}
        clock.now += 39.9
        assert by_workload(each.run_pass(request)) == {"w": "backoff"}
        clock.now += 0.2


@pytest.mark.parametrize("after", [float("nan"), float("inf"), -5.0, "soon", None, 10**400])
def test_a_retry_after_nonsense_hurts_nobody(clock: Clock, after: Any) -> None:
    """R15: what cannot be waited for is a failure of that plugin, or asked again by the next pass."""

    def nonsense(_request: ReconcileRequest) -> Outcome:
        raise Retry(after, "later")

    def smuggled(_request: ReconcileRequest) -> Outcome:
        error = Retry(1.0, "later")
        error.after_seconds = after
        raise error

    zoo = Zoo(nonsense=nonsense, smuggled=smuggled)
    each = converger(zoo, clock)
    requests = [request_for("one", "nonsense"), request_for("two", "smuggled"), request_for("good", "fine")]
    results = by_workload(each.run_pass(requests))
    assert results["good"] == "in_sync"
    assert {results["one"], results["two"]} <= {"retry", "failed"}
    clock.now += LAST_BACKOFF_SECONDS
    again = by_workload(each.run_pass(requests))
    assert again["good"] == "in_sync"
    assert zoo.calls["one"] == zoo.calls["two"] == 2, "nobody is put off for ever"


def test_terminal_waits_for_a_new_declaration(zoo: Zoo, clock: Clock) -> None:
    """R15: not asked again until the generation changes, whatever time goes by."""
    each = converger(zoo, clock)
    assert by_workload(each.run_pass([request_for("w", "terminates", generation=1)])) == {"w": "terminal"}
    for _ in range(3):
        clock.now += 10_000.0
        again = each.run_pass([request_for("w", "terminates", generation=1)])
        assert [(one.result, one.called) for one in again] == [("terminal", False)]
    assert zoo.calls["w"] == 1
    each.run_pass([request_for("w", "terminates", generation=2)])
    assert zoo.calls["w"] == 2


def test_a_deleted_workload_is_forgotten(zoo: Zoo, clock: Clock) -> None:
    """R15: one that is declared anew under the same id begins without back-off; a partial pass forgets nobody."""
    each = converger(zoo, clock)
    request = [request_for("w", "raises")]
    each.run_pass(request)
    each.run_pass([], of_all=False)
    assert by_workload(each.run_pass(request)) == {"w": "backoff"}
    each.run_pass([])
    assert by_workload(each.run_pass(request)) == {"w": "failed"}


def test_who_is_asked() -> None:
    """R15: workloads with a source kind and a trigger kind that are this host's, each with its rows and faces."""
    rows = [assignment("a:web", "1"), assignment("b:web", "2"), assignment("a:db", "3")]
    workloads = [
        declared("a", "fine", public_faces=[{"host": "a.example"}]),
        declared("b", "fine", host=HOST),
        declared("elsewhere", "fine", host="host-b"),
        declared("no-source", ""),
        declared("no-trigger", "fine", trigger_kind=""),
        workload("neither"),
    ]
    requests = requests_for(workloads, rows, HOST)
    assert [(each.workload.id, [row.id for row in each.rows]) for each in requests] == [
        ("a", ["a:web", "a:db"]),
        ("b", ["b:web"]),
    ]
    assert requests[0].public_faces == (PublicFace(host="a.example", path="/", port=None),)
    assert requests[1].public_faces == ()
    assert {each.host for each in requests} == {HOST}


@pytest.mark.parametrize(
    "faces",
    [
        "a.example",
        5,
        0,
        "",
        {},
        {"host": "a.example"},
        [None],
        ["a.example"],
        [{}],
        [{"host": ""}],
        [{"host": "a.example", "port": 70_000}],
        [{"host": "a.example", "path": "no-slash"}],
        [{"host": "a b"}],
        [{"host": "a.example", "colour": "red"}],
        [{"host": "a.example"}, {"host": 7}],
    ],
    ids=str,
)
def test_malformed_public_faces_count_as_none_and_are_reported(faces: Any) -> None:
    """R15: the workload is asked all the same; the report names it and what is wrong."""
    broken = declared("broken", "fine", public_faces=faces)
    assert requests_for([broken], [], HOST)[0].public_faces == ()
    problems = malformed_faces([broken, declared("good", "fine", public_faces=[{"host": "a.example"}])])
    assert len(problems) == 1
    assert problems[0].startswith("workload 'broken': public_faces")


@pytest.mark.parametrize("faces", [None, [], ()])
def test_no_public_faces_are_not_malformed(faces: Any) -> None:
    """R15: having none is no mistake."""
    assert malformed_faces([declared("w", "fine", public_faces=faces)]) == []


def test_terminal_and_retry_say_what_they_mean() -> None:
    """House: their text is shown to people."""
    assert str(Retry(3.0, "later")) == "later"
    assert Retry(3, "later").after_seconds == 3.0
    assert str(Terminal("never")) == "never"
