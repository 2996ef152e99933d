"""`controller.triggers`: events become deploys, each with an answer, whatever the others do; over both stores."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from controller.errors import LookFailed, NotFound, StandingBy, VerbFailed
from controller.plugins.contract import Found, Look, Retry, Terminal, TriggerEvent, TriggerIntent
from controller.rollout.turns import turn_held
from controller.triggers.answers import Answer
from store.database import Database
from store.revisions import list_revisions
from store.triggers import Owed, save_state
from tests.contract.dispatching import Dispatching, Told
from tests.harness import wait_until


@pytest.fixture
def make(database: Database) -> Iterator[Callable[..., Dispatching]]:
    """Makes dispatchers over one store."""
    made: list[Dispatching] = []

    def one(*triggers: Any) -> Dispatching:
        made.append(Dispatching(database, *triggers))
        return made[-1]

    yield one
    for each in made:
        each.stop()


def saw(what: str) -> TriggerEvent:
    """An event that the trigger `told` matches."""
    return TriggerEvent("told", {"what": what})


def answers(dispatching: Dispatching, event: TriggerEvent) -> dict[str, str]:
    """What becomes of it, by workload."""
    found = dispatching.dispatcher.dispatch(event, "test")
    return {workload_id: str(each.result(20).answer) for workload_id, each in found.items()}


def fire(dispatching: Dispatching, workload_id: str = "shop") -> Any:
    """Fire by hand, and wait for the answer."""
    return dispatching.dispatcher.by_hand(workload_id, "because", "test").result(20)


def serving(database: Database, workload_id: str = "shop") -> list[tuple[str, str]]:
    """Image and state of each revision."""
    return [(each.image_ref, str(each.state)) for each in list_revisions(database, workload_id)]


def test_by_hand(make: Callable[..., Dispatching]) -> None:
    """S1: deployed, then nothing is left to do; the answer stays in the store."""
    one = make()
    one.declare()
    deployed = fire(one)
    assert (deployed.answer, deployed.revision_id) == (Answer.DEPLOYED, "shop-1")
    assert fire(one).answer is Answer.SKIPPED
    state = one.binding().state
    assert (state.answer, state.message, state.owed) == ("skipped", "shop-1 serves already", None)
    assert state.fired_at == one.now()
    assert [str(each.answer) for each in one.answers] == ["deployed", "skipped"]


def test_who_cannot_be_fired_by_hand(make: Callable[..., Dispatching]) -> None:
    """S1: nobody that is not there, has no trigger, or belongs to another host; and not by one who stands by."""
    one = make()
    one.declare("mine")
    one.declare("theirs", host="host-b")
    one.declare("none", trigger="")
    for workload_id, said in (("nobody", "not in the store"), ("none", "no trigger"), ("theirs", "another host")):
        with pytest.raises(NotFound, match=said):
            fire(one, workload_id)
    one.leads = False
    with pytest.raises(StandingBy):
        fire(one, "mine")


def test_one_binding_never_stops_another(make: Callable[..., Dispatching]) -> None:
    """S1: an answer for each, whatever the code of a trigger or a deploy does."""

    def matches(workload: Any, event: TriggerEvent) -> Any:
        behaviours: dict[str, Callable[[], Any]] = {
            "a-raises": lambda: 1 / 0,
            "b-exits": lambda: sys.exit(3),
            "c-lies": lambda: TriggerIntent("z-fine", "of another workload"),
            "d-babbles": lambda: "deploy it",
            "e-not-concerned": lambda: None,
        }
        return behaviours.get(workload.id, lambda: TriggerIntent(workload.id, "saw it"))()

    one = make(Told(matches=matches))
    for workload_id in ("a-raises", "b-exits", "c-lies", "d-babbles", "e-not-concerned", "z-fine"):
        one.declare(workload_id, "told")
    one.declare("f-no-source", "told")
    one.declare("other", "manual")
    assert answers(one, saw("it")) == {
        "a-raises": "errored",
        "b-exits": "errored",
        "c-lies": "errored",
        "d-babbles": "errored",
        "e-not-concerned": "no_match",
        "f-no-source": "deployed",
        "z-fine": "deployed",
    }


def test_the_same_key_is_nothing_new(make: Callable[..., Dispatching]) -> None:
    """S1: a replayed call deploys nothing; what comes back after something else counts, and finds nothing to do."""
    one = make(Told())
    one.declare("shop", "told")
    assert [answers(one, saw(each))["shop"] for each in ("a", "a", "b", "a")] == [
        "deployed",
        "skipped",
        "skipped",
        "skipped",
    ]
    assert [each.message for each in one.answers][1:] == [
        "nothing new: saw a",
        "shop-1 serves already",
        "shop-1 serves already",
    ]


def test_what_a_trigger_found_is_deployed_in_place_of_what_is_declared(
    make: Callable[..., Dispatching], database: Database
) -> None:
    """S1: as for a newer tag that fits a pattern."""
    digest = f"sha256:{'5' * 64}"
    found = TriggerIntent("shop", "a newer tag", key="5", reference="shop:5", digest=digest)
    one = make(Told(matches=lambda _workload, _event: found))
    one.declare("shop", "told")
    assert answers(one, saw("5")) == {"shop": "deployed"}
    assert [(each.image_ref, each.image_digest) for each in list_revisions(database, "shop")] == [("shop:5", digest)]


def test_an_event_during_a_deploy_follows_it(make: Callable[..., Dispatching]) -> None:
    """S1: it is skipped for now, stays owed, and is begun when the deploy ended."""
    one, reached, go_on = make(Told()), threading.Event(), threading.Event()
    one.declare("shop", "told")
    one.hear("shop")
    one.looker.start()

    def wait() -> None:
        reached.set()
        go_on.wait(20)

    one.source.resolved = wait
    first = one.dispatcher.dispatch(saw("a"), "test")["shop"]
    reached.wait(20)
    second = one.dispatcher.dispatch(saw("b"), "test")["shop"].result(20)
    assert (second.answer, second.message) == (Answer.SKIPPED, "a deploy is under way; this one follows")
    one.declare("shop", "told", image="shop:2")
    go_on.set()
    assert first.result(20).answer is Answer.DEPLOYED
    wait_until(lambda: one.binding().state.owed is None, 20, "what is owed is deployed")
    assert [each.revision_id for each in one.answers if each.answer is Answer.DEPLOYED][-1] == "shop-2"


def test_somebody_else_deploys(make: Callable[..., Dispatching], database: Database) -> None:
    """S1: skipped, and tried again when its time has come, however often that is."""
    one = make(Told())
    one.declare("shop", "told")
    one.hear("shop")
    one.looker.start()
    with turn_held(database, "shop", "cli:somebody deploys"):
        answered = one.dispatcher.dispatch(saw("a"), "test")["shop"].result(20)
        assert answered.answer is Answer.SKIPPED
        assert "cli:somebody deploys" in answered.message
        state = one.binding().state
        assert state.owed is not None
        assert state.owed.attempts == 0
    one.go_on(11)
    wait_until(lambda: one.binding().state.answer == "deployed", 20, "it is deployed after all")


def test_a_deploy_that_fails_is_tried_again_and_given_up(make: Callable[..., Dispatching]) -> None:
    """S1: three times, further and further apart; then the same digest is not tried again."""
    one = make(Told())
    one.declare("shop", "told")
    one.hear("shop")

    def fail() -> None:
        raise VerbFailed("the registry is down")

    one.source.resolved = fail
    assert answers(one, saw("a")) == {"shop": "errored"}
    one.looker.start()
    for _ in range(2):
        count = len(one.answers)
        one.go_on(60)
        wait_until(lambda count=count: len(one.answers) > count, 20, "another attempt")
    wait_until(lambda: one.binding().state.owed is None, 20, "it is given up")
    wait_until(lambda: not one.dispatcher.busy("shop"), 20, "the attempt ended")
    assert one.binding().state.message == "the registry is down; given up after 3 attempts"
    assert answers(one, saw("a")) == {"shop": "skipped"}
    assert answers(one, saw("b")) == {"shop": "errored"}


def test_what_a_dead_process_owed_is_deployed_by_the_next(make: Callable[..., Dispatching]) -> None:
    """S1: a deploy that was stored before it began, and never answered."""
    one = make(Told())
    one.declare("shop", "told")
    state = one.binding().state
    save_state(one.database, type(state)("shop", "told", key="a", owed=Owed(1, "saw a", "a")), one.now())
    one.hear("shop")
    one.looker.start()
    wait_until(lambda: one.binding().state.owed is None, 20, "what is owed is deployed")
    assert one.binding().state.answer == "deployed"


def test_of_two_dispatchers_that_see_the_same_one_deploys(make: Callable[..., Dispatching]) -> None:
    """R22, S1: the other finds that it was overtaken, and deploys nothing."""
    triggers = [Told(find=lambda look: Found({"at": "a"}, [] if look.state else [saw("a")])) for _ in range(2)]
    both = [make(each) for each in triggers]
    both[0].declare("shop", "told")
    for each in both:
        each.hear("shop")
        each.looker.start()
    wait_until(lambda: all(each.looks for each in triggers), 20, "both looked")
    wait_until(lambda: not any(one.dispatcher.busy("shop") for one in both), 20, "all deploys ended")

    def looked_again() -> bool:
        for one in both:
            one.go_on(60)
        return all(("told", "unchanged") in one.looked for one in both)

    wait_until(looked_again, 20, "both looked again")
    deployed = [each for one in both for each in one.answers if each.answer is Answer.DEPLOYED]
    assert [each.revision_id for each in deployed] == ["shop-1"]


def test_a_look_that_finds_nothing_new_writes_nothing(make: Callable[..., Dispatching]) -> None:
    """S1, P9: the state is stored when it changes, and given to the next look."""
    trigger = Told(find=lambda look: Found({"count": 1}, next_at=look.now + timedelta(seconds=60)))
    one = make(trigger)
    one.declare("shop", "told")
    one.hear("shop")
    one.looker.start()
    for number in range(1, 4):
        wait_until(lambda number=number: len(one.looked) == number, 20, "a look")
        assert one.binding().state.generation == 1
        one.go_on(61)
    assert [dict(each.state) for each in trigger.looks[:3]] == [{}, {"count": 1}, {"count": 1}]


@pytest.mark.parametrize(
    ("error", "result", "pause"),
    [
        (Retry(300, "rate limit"), "retry", 300),
        (LookFailed("no answer"), "failed", 5),
        (RuntimeError("a defect"), "failed", 5),
        (SystemExit(1), "failed", 5),
    ],
    ids=["told to wait", "down", "defect", "exit"],
)
def test_a_look_that_fails_waits(
    make: Callable[..., Dispatching], error: BaseException, result: str, pause: float
) -> None:
    """S1: for as long as it was told to, or longer each time; in the store, so that a restart asks no earlier."""

    def find(_look: Look) -> Found:
        raise error

    one = make(Told(find=find))
    one.declare("shop", "told")
    one.hear("shop")
    one.looker.start()
    wait_until(lambda: one.binding().state.failures, 20, "the failure is stored")
    state = one.binding().state
    assert (one.looked, state.answer) == ([("told", result)], "errored")
    assert state.not_before is not None
    assert pause / 2 <= (state.not_before - one.now()).total_seconds() <= pause
    one.stop()
    other = make(Told(find=lambda _look: Found({})))
    other.hear("shop")
    other.looker.start()
    other.go_on(1)
    wait_until(lambda: not other.agenda.wait(0), 20, "it is put off")
    assert other.looked == []
    other.go_on(pause)
    wait_until(lambda: other.looked, 20, "it is looked at again")
    wait_until(lambda: other.binding().state.failures == 0, 20, "all is well")
    assert other.binding().state.answer == ""


def test_a_new_declaration_is_looked_at_at_once(make: Callable[..., Dispatching]) -> None:
    """S1: whatever the old one was told; and looking that is useless is not repeated before that."""

    def find(_look: Look) -> Found:
        raise Terminal("pinned by digest")

    trigger = Told(find=find)
    one = make(trigger)
    one.declare("shop", "told")
    one.hear("shop")
    one.looker.start()
    wait_until(lambda: one.looked == [("told", "terminal")], 20, "it is useless")
    one.go_on(100_000)
    one.declare("blog", "told")
    one.hear("shop", "blog")
    wait_until(lambda: len(trigger.looks) == 2, 20, "the other one is looked at")
    one.declare("shop", "told", image="shop:2")
    one.hear("shop", "blog")
    wait_until(lambda: [each.workload.id for each in trigger.looks] == ["shop", "blog", "shop"], 20)


def test_a_look_that_hangs_stops_nobody(make: Callable[..., Dispatching]) -> None:
    """S1, R3: it is given up, not begun again while it hangs, and stopping does not wait for it."""
    hanging = threading.Event()

    def find(look: Look) -> Found:
        if look.workload.id == "hangs":
            hanging.wait(60)
        return Found({}, next_at=look.now + timedelta(seconds=30))

    trigger = Told(find=find)
    one = make(trigger)
    for workload_id in ("hangs", "well"):
        one.declare(workload_id, "told")
    one.hear("hangs", "well")
    one.looker.start()
    wait_until(lambda: ("told", "unchanged") in one.looked, 20, "the other one is looked at")
    one.go_on(61)
    wait_until(lambda: ("told", "timeout") in one.looked, 20, "it is given up")
    wait_until(lambda: [each.workload.id for each in trigger.looks].count("well") == 2, 20, "the next look")
    wait_until(lambda: one.looked.count(("told", "unchanged")) == 2, 20, "and its end")
    one.go_on(3600)
    wait_until(lambda: [each.workload.id for each in trigger.looks].count("well") == 3, 20, "and one more")
    assert len([each for each in trigger.looks if each.workload.id == "hangs"]) == 1
    one.stop()
    hanging.set()


def test_a_step_of_the_clock_is_noticed(make: Callable[..., Dispatching]) -> None:
    """S1: what waits for a time of day is looked at again when the wall clock went forward by itself."""
    trigger = Told(find=lambda look: Found({}, next_at=look.now + timedelta(hours=5)))
    one = make(trigger)
    one.declare("shop", "told")
    one.hear("shop")
    one.looker.start()
    wait_until(lambda: one.looked, 20, "the first look")
    one.times.now += timedelta(hours=5)
    one.agenda.wake()
    wait_until(lambda: len(one.looked) == 2, 20, "another look")


def test_who_stands_by_looks_at_nothing(make: Callable[..., Dispatching]) -> None:
    """R22, S1: and begins again when it leads."""
    trigger = Told()
    one = make(trigger)
    one.declare("shop", "told")
    one.leads = False
    one.looker.stand_by()
    one.hear("shop")
    one.looker.start()
    one.go_on(3600)
    one.looker.stand_by()
    assert trigger.looks == []
    one.leads = True
    one.hear("shop")
    wait_until(lambda: trigger.looks, 20, "it looks")
