"""`controller.declared.reload`: one worker puts what is declared into force, in order, whole, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from structlog.testing import capture_logs

from controller.errors import (
    ConfigInvalid,
    Conflict,
    LockTimeout,
    ManifestInvalid,
    ReloadFailed,
    StoreUnavailable,
    TallydError,
)
from tests.builders import NOW, workload
from tests.harness import wait_until
from tests.unit.reloads import (
    ACTIVATED,
    ERROR,
    SECONDS,
    UNCHANGED,
    House,
    declared,
    in_background,
    reload_threads,
)

MALFORMED = ConfigInvalid("config.yaml:3: not YAML")


@pytest.fixture
def house() -> Iterator[House]:
    """A worker after its first activation; stopped in the end."""
    made = House().started()
    yield made
    made.reading.open.set()
    made.worker.stop()
    wait_until(lambda: not reload_threads(), what="the worker ends")


def test_a_rebuild_ends_in_an_activation_in_nothing_or_in_an_error(house: House) -> None:
    """W5: one swap with what changed; none for equal content of any generation; or the previous one serves."""
    house.declared = declared(5, 2)
    activated = house.reload()
    assert (activated.result, activated.generation, activated.detail) == (ACTIVATED, 2, "what changed")
    assert (activated.at, activated.error) == (NOW, None)
    assert house.serving is house.worker.in_force is house.declared
    house.declared = declared(5, 3)
    unchanged = house.reload()
    assert (unchanged.result, unchanged.generation, house.swaps) == (UNCHANGED, 3, 2)
    house.read_error = MALFORMED
    failed = house.reload()
    assert (failed.result, failed.generation, failed.detail) == (ERROR, 3, str(MALFORMED))
    assert isinstance(failed.error, ReloadFailed)
    assert not failed.error.restart_required
    assert (house.swaps, house.results) == (2, ["activated", "activated", "unchanged", "error"])


def test_an_activation_is_logged_with_old_and_new_counts() -> None:
    """W5: one line at level info: which generation, who asked, how many workloads before and after."""
    house = House()
    house.declared = declared(workloads=(workload("a"),))
    with capture_logs() as logs:
        house.worker.rebuild("start")
        house.declared = declared(generation=2, workloads=(workload("a"), workload("b")))
        house.worker.rebuild("file")
        house.worker.rebuild("file")
    first, second = logs
    assert (first["workloads_before"], first["workloads"]) == (0, 1)
    assert second == {
        "event": "activated",
        "log_level": "info",
        "asked_by": "file",
        "generation": 2,
        "workloads_before": 1,
        "workloads": 2,
        "detail": "what changed",
    }


def test_requests_that_wait_are_served_by_one_rebuild(house: House) -> None:
    """W8: a hundred of them while one runs: one more rebuild, which began after all of them."""
    house.reading.close()
    house.worker.request("file")
    assert house.reading.reached.wait(SECONDS)
    for _ in range(100):
        house.worker.request("file")
    house.declared = declared(7, 2)
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(house.reload) for _ in range(10)]
        wait_until(lambda: house.waiting == 10, what="all of them wait")
        house.reading.open.set()
        answers = {id(each.result()) for each in waiting}
    assert (len(answers), house.read) == (1, 3)
    assert house.serving == declared(7, 2)


def test_whoever_asks_during_a_rebuild_gets_one_that_began_later(house: House) -> None:
    """W8, H7: what was stored before the request is in force when it is answered."""
    house.reading.close()
    house.worker.request("file")
    assert house.reading.reached.wait(SECONDS)
    with in_background(house.reload) as asked:
        wait_until(lambda: house.waiting == 1, what="it waits")
        house.read_error = MALFORMED
        house.reading.open.set()
        wait_until(lambda: asked.value, what="the answer")
    assert house.results == ["activated", "error", "error"]
    house.read_error = None
    assert house.reload().result is UNCHANGED


def test_malformed_then_the_same_as_before_then_new(house: House) -> None:
    """W5, W7: the previous content serves; put back it is no change; a correction is one."""
    house.read_error = MALFORMED
    assert house.reload().result is ERROR
    assert (house.serving, house.status.as_dict()["last_error"]["detail"]) == (declared(), str(MALFORMED))
    house.read_error = None
    assert (house.reload().result, house.swaps) == (UNCHANGED, 1)
    assert house.status.as_dict()["last_error"]["mended"] is True
    house.declared = declared(9, 4)
    assert (house.reload().result, house.serving) == (ACTIVATED, declared(9, 4))


def test_a_failed_activation_is_tried_again_with_identical_content(house: House) -> None:
    """W7: compared is with what was last *activated*, not with what was last read."""
    house.declared = declared(5, 2)
    house.build_error = Conflict("ref 'www' belongs to workload 'other'")
    for _ in range(2):
        assert house.reload().result is ERROR
    assert (house.serving, house.worker.in_force, len(house.built)) == (declared(), declared(), 3)
    house.build_error = None
    assert house.reload().result is ACTIVATED
    assert house.serving == declared(5, 2)


def test_a_failure_after_the_swap_began_takes_a_restart(house: House) -> None:
    """H6: it is told apart, readiness fails until the restart, and the next request tries again all the same."""
    house.declared = declared(5, 2)
    house.swap_error = RuntimeError("half-way")
    failed = house.reload()
    assert failed.error is not None
    assert failed.error.restart_required
    assert house.worker.in_force == declared()
    assert house.status.not_ready_because() == ["restart required: a reload failed half-way"]
    house.swap_error = None
    assert house.reload().result is ACTIVATED
    assert house.status.as_dict()["last_error"]["mended"] is False
    house.read_error = MALFORMED
    house.reload()
    house.read_error = None
    house.reload()
    assert house.status.not_ready_because() == ["restart required: a reload failed half-way"], "whatever came after"


def test_equal_content_is_swapped_in_again_after_a_swap_that_failed(house: House) -> None:
    """H6, W7: half of something else may be in force, so that going back is no "nothing"."""
    house.declared, house.swap_error = declared(5, 2), RuntimeError("half-way")
    house.reload()
    house.declared, house.swap_error = declared(), None
    assert house.reload().result is ACTIVATED
    assert house.reload().result is UNCHANGED, "once it is whole again"


@pytest.mark.parametrize("error", [ConfigInvalid("x"), ManifestInvalid("x"), Conflict("x")])
def test_what_is_wrong_with_the_content_waits_for_another_write(house: House, error: TallydError) -> None:
    """W6, W7: asking again at each tick would not help."""
    house.read_error = error
    house.reload()
    assert not house.worker.unfinished


@pytest.mark.parametrize("error", [StoreUnavailable("the store is away"), LockTimeout("held")])
@pytest.mark.parametrize("where", ["read_error", "build_error"])
def test_what_the_world_may_mend_is_unfinished(house: House, error: TallydError, where: str) -> None:
    """W7: a store that was away is asked again, without any write."""
    house.declared = declared(5, 2)
    setattr(house, where, error)
    assert house.reload().result is ERROR
    assert house.worker.unfinished
    setattr(house, where, None)
    assert (house.reload().result, house.worker.unfinished) == (ACTIVATED, False)


def test_what_waits_for_the_world_is_built_again_though_nothing_declared_changed(house: House) -> None:
    """W7: such as a prune that waits for a last container; it swaps only when something was written."""
    house.declared, house.unfinished = declared(5, 2), True
    assert (house.reload().result, house.worker.unfinished) == (ACTIVATED, True)
    house.changed = False
    assert (house.reload().result, len(house.built), house.swaps) == (UNCHANGED, 3, 2)
    house.changed, house.unfinished = True, False
    assert (house.reload().result, house.worker.unfinished) == (ACTIVATED, False)
    assert (house.reload().result, len(house.built)) == (UNCHANGED, 4)


def test_trouble_is_logged_once_and_again_after_it_was_gone(house: House) -> None:
    """W5, O6: not at each tick; another reason is another line."""
    with capture_logs() as logs:
        for error in (MALFORMED, MALFORMED, ConfigInvalid("other"), None, MALFORMED):
            house.read_error = error
            house.reload()
    told = [(each["log_level"], each["reason"], each["asked_by"]) for each in logs]
    assert told == [("error", str(reason), "test") for reason in (MALFORMED, "other", MALFORMED)]
    assert house.results.count("error") == 4


@pytest.mark.parametrize("where", ["read_error", "build_error"])
@pytest.mark.parametrize("error", [ZeroDivisionError("a defect"), SystemExit("a defect")])
def test_a_defect_is_told_and_counted_and_the_worker_lives(house: House, where: str, error: BaseException) -> None:
    """W5, W9: with a traceback in the log; whoever waits is answered; the previous activation keeps serving."""
    house.declared = declared(5, 2)
    setattr(house, where, error)
    with capture_logs() as logs:
        failed = house.reload()
    assert (failed.result, failed.detail) == (ERROR, f"{type(error).__name__}: a defect")
    assert [(each["event"], each["log_level"]) for each in logs] == [
        ("reload failed by a defect of tallyd; please report it", "error")
    ]
    assert (house.results, house.serving) == (["activated", "error"], declared())
    setattr(house, where, None)
    assert house.reload().result is ACTIVATED
    assert house.serving == declared(5, 2)


def test_stopping_refuses_who_waits_and_lets_a_rebuild_end() -> None:
    """W9: nobody waits for ever, and what runs is put in force whole."""
    house = House().started()
    house.declared = declared(5, 2)
    house.reading.close()
    with in_background(house.reload) as first:
        assert house.reading.reached.wait(SECONDS)
        with in_background(house.reload) as second:
            wait_until(lambda: house.waiting == 1, what="it waits")
            with in_background(house.worker.stop) as stopping:
                wait_until(lambda: second.error, what="it is refused")
                house.reading.open.set()
    assert isinstance(second.error, ReloadFailed)
    assert "stops" in str(second.error)
    assert (stopping.error, first.error, house.serving) == (None, None, declared(5, 2))
    assert not reload_threads()
    with pytest.raises(ReloadFailed, match="stops"):
        house.reload()
    with pytest.raises(ReloadFailed, match="stops"):
        house.worker.sync(None, SECONDS)
    house.worker.request("file")
    house.worker.stop()
    house.worker.start()
    assert (reload_threads(), house.read) == ([], 2)


def test_a_rebuild_that_does_not_end_is_left_behind() -> None:
    """W9: stop returns, and says so in a warning."""
    house = House().started()
    house.reading.close()
    house.worker.request("file")
    assert house.reading.reached.wait(SECONDS)
    with capture_logs() as logs:
        house.worker.stop()
    assert [each["log_level"] for each in logs] == ["warning"]
    assert "left behind" in logs[0]["event"]
    house.reading.open.set()
    wait_until(lambda: not reload_threads(), what="the worker ends")


def test_start_and_stop_can_be_repeated_and_left_out() -> None:
    """W9: in any order, from any thread, and from within the worker itself."""
    never = House()
    never.worker.stop()
    never.worker.start()
    house = House()
    hooked = threading.Event()

    def stop_within() -> None:
        house.worker.stop()
        hooked.set()

    house.worker.start()
    house.worker.start()
    house.reading.pass_by = stop_within  # type: ignore[method-assign]
    house.worker.request("file")
    assert hooked.wait(SECONDS)
    house.worker.stop()
    wait_until(lambda: not reload_threads(), what="the worker ends")


def test_a_caller_who_waited_too_long_is_still_served(house: House) -> None:
    """W8: the request is not lost with the patience of who made it."""
    house.reading.close()
    house.declared = declared(5, 2)
    with pytest.raises(TimeoutError):
        house.worker.reload("impatient", 0.01)
    house.reading.open.set()
    wait_until(lambda: house.serving == declared(5, 2), what="it is in force")
