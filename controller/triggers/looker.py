"""Has triggers look for their events: when each is due, a few at a time, none for ever.

Deciding and storing is done by the one thread of this module; the looks themselves run on threads of their own, and a
workload is not looked at again before its last look ended.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from controller.errors import NotFound, StoreError, TallydError, TriggerSuperseded
from controller.plugins.contract import Found, Look, Looking, Retry, Terminal, TriggerIntent, TriggerTools, Workload
from controller.plugins.registry import Registry
from controller.triggers.agenda import Agenda
from controller.triggers.answers import backoff, failed_look, is_new, looked, pause_left, same_look
from controller.triggers.dispatcher import Dispatcher
from controller.triggers.looks import LOOK_SECONDS, Looks
from controller.wording import words_of
from store.database import Database
from store.triggers import Binding, TriggerState, get_binding, list_bindings, save_state

STOP_SECONDS = 0.5
_BEAT_SECONDS = 30.0
_LATE_SECONDS = 2.0
_LONGEST_SECONDS = 6 * 3600.0
_NEXT_SECONDS = 60.0
_AGAIN_SECONDS = 5.0
_STEP_SECONDS = 2.0

Bound = Collection[tuple[str, str, int]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LookHooks:
    """What looking needs from the process around it; ``looked`` is told kind and result of each look."""

    tools: TriggerTools
    leads: Callable[[], bool]
    looked: Callable[[str, str], None]
    now: Callable[[], datetime]
    monotonic: Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Heard:
    """What passes told last. ``reign`` rises when another controller takes over: then all is to be read again."""

    reign: int = 0
    bound: frozenset[tuple[str, str, int]] = frozenset()


class Looker:
    """Start and stop are idempotent. Hears from the passes which workloads there are, so that it need not ask."""

    def __init__(
        self,
        hooks: LookHooks,
        registry: Registry,
        database: Database,
        host: str,
        dispatcher: Dispatcher,
        agenda: Agenda,
    ) -> None:
        self._hooks = hooks
        self._registry = registry
        self._database = database
        self._host = host
        self._dispatcher = dispatcher
        self._agenda = agenda
        self._chance = random.Random()
        self._useless: dict[str, int] = {}  # workload id → the generation whose trigger said so
        self._looks = Looks(hooks.monotonic, agenda.wake)
        self._bound = self._known = _Heard()
        self._offset: float | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin. Nothing is looked at before a pass told which workloads there are."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="triggers", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; looks that go on are left behind (R3)."""
        self._stopping = True
        self._agenda.wake()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def hear(self, bound: Bound) -> None:
        """A complete pass saw these workloads with triggers: id, kind of the trigger, generation."""
        heard = replace(self._bound, bound=frozenset(bound))
        if heard != self._bound:
            self._bound = heard
            self._agenda.wake()

    def stand_by(self) -> None:
        """Another controller leads now: what it does is not known here, and is read again when this one leads."""
        if self._bound.bound:
            self._bound = _Heard(self._bound.reign + 1)
            self._agenda.wake()

    def _run(self) -> None:
        while not self._stopping:
            due = self._agenda.wait(self._seconds_to_wait())
            try:
                self._turn(due)
            except StoreError as error:
                log.debug("triggers wait for the store", reason=str(error))
                self._later(due)
            except Exception:  # a turn ends here; the next one is another
                log.exception("triggers failed by a defect of tallyd; please report it")
                self._later(due)

    def _seconds_to_wait(self) -> float | None:
        """Without any trigger nothing ever wakes it but news."""
        if self._looks.some_run:
            return _LATE_SECONDS
        return _BEAT_SECONDS if self._known.bound else None

    def _turn(self, due: list[str]) -> None:
        if self._stopping:
            return
        self._notice_the_clock()
        self._refresh()
        self._harvest()
        if not self._hooks.leads():
            self._later(due)
            return
        for workload_id in due:
            self._attend(workload_id)

    def _later(self, due: list[str]) -> None:
        for workload_id in due:
            self._agenda.put(workload_id, _AGAIN_SECONDS)

    def _notice_the_clock(self) -> None:
        """After a step of the wall clock, what waits for a time of it is looked at again."""
        offset = self._hooks.now().timestamp() - self._hooks.monotonic()
        if self._offset is not None and abs(offset - self._offset) > _STEP_SECONDS:
            self._agenda.hurry()
        self._offset = offset

    def _refresh(self) -> None:
        """Look at what is new or declared anew, and begin again what a process before this one owed.

        :raises StoreError: the store cannot be read; done again in the next turn.
        """
        heard = self._bound
        if heard == self._known:
            return
        before = self._known.bound if heard.reign == self._known.reign else frozenset()
        new = {each[0] for each in heard.bound - before}
        if new:
            ours = list_bindings(self._database, self._host)
            for each in ours:
                if each.workload.id in new and (each.state.owed is not None or self._looking(each.workload)):
                    self._agenda.put(each.workload.id)
        self._known = heard
        self._agenda.keep(each[0] for each in heard.bound)

    def _looking(self, workload: Workload) -> bool:
        return isinstance(self._registry.triggers.get(workload.trigger_kind), Looking)

    def _attend(self, workload_id: str) -> None:
        try:
            binding = get_binding(self._database, workload_id)
        except NotFound:
            return
        now = self._hooks.now()
        if self._dispatcher.busy(workload_id) or self._looks.holds(workload_id):
            self._agenda.put(workload_id, _AGAIN_SECONDS)
            return
        owed = binding.state.owed
        if owed is not None:
            left = (datetime.fromisoformat(owed.again_at) - now).total_seconds() if owed.again_at else 0.0
            if left <= 0 or left > _LONGEST_SECONDS:
                self._dispatcher.resume(binding)
                return
            self._agenda.put(workload_id, left)
        trigger = self._registry.triggers.get(binding.workload.trigger_kind)
        if not isinstance(trigger, Looking) or self._useless.get(workload_id) == binding.workload.generation:
            return
        pause = pause_left(binding.state, binding.workload, now)
        if pause > timedelta():
            self._agenda.put(workload_id, pause.total_seconds())
        elif self._looks.full:
            self._agenda.put(workload_id, 0.2)
        else:
            look = Look(binding.workload, binding.state.seen, now, self._hooks.tools)
            self._looks.begin(binding, trigger, look)

    def _harvest(self) -> None:
        for binding, found in self._looks.take():
            if self._stopping or not self._hooks.leads():
                self._agenda.put(binding.workload.id, _AGAIN_SECONDS)
            else:
                self._judge(binding, found)

    def _judge(self, binding: Binding, found: Found | BaseException | None) -> None:
        try:
            if isinstance(found, Found):
                self._saw(binding, found)
            elif found is None:
                self._failed(binding, "timeout", f"no answer within {LOOK_SECONDS:g} s")
            elif isinstance(found, Retry):
                self._failed(binding, "retry", str(found), timedelta(seconds=found.after_seconds))
            elif isinstance(found, Terminal):
                self._useless[binding.workload.id] = binding.workload.generation
                self._told(binding, "terminal", str(found))
                self._save(failed_look(binding.state, binding.workload, str(found), timedelta(), self._hooks.now()))
            else:
                message = str(found) if isinstance(found, TallydError) else words_of(found)
                self._failed(binding, "failed", message)
        except StoreError as error:  # of this workload or of all; the look is made again
            log.debug("a look is not stored", workload=binding.workload.id, reason=str(error))
            self._agenda.put(binding.workload.id, _AGAIN_SECONDS)

    def _saw(self, binding: Binding, found: Found) -> None:
        workload, now = binding.workload, self._hooks.now()
        after_seconds = _NEXT_SECONDS if found.next_at is None else (found.next_at - now).total_seconds()
        try:
            intents = [self._dispatcher.matched(workload, each) for each in found.events]
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a stranger's code ends here; it counts as failed
            self._failed(binding, "failed", f"match: {words_of(error)}")
            return
        self._agenda.put(workload.id, min(after_seconds, _LONGEST_SECONDS))
        state = looked(binding.state, workload, found)
        if binding.state.failures:
            log.info("trigger looks again", workload=workload.id, kind=workload.trigger_kind)
        intent = next((each for each in reversed(intents) if each is not None and is_new(state, each)), None)
        self._act(binding, state, intent)
        self._hooks.looked(workload.trigger_kind, "unchanged" if intent is None else "new")

    def _act(self, binding: Binding, state: TriggerState, intent: TriggerIntent | None) -> None:
        workload = binding.workload
        if intent is not None:
            self._dispatcher.take(replace(binding, state=state), intent, f"trigger:{workload.trigger_kind}")
        elif not same_look(state, binding.state):
            self._save(state)

    def _failed(self, binding: Binding, result: str, message: str, pause: timedelta | None = None) -> None:
        workload, now = binding.workload, self._hooks.now()
        wait = backoff(binding.state.failures, self._chance) if pause is None else pause
        self._told(binding, result, message)
        self._agenda.put(workload.id, wait.total_seconds())
        self._save(failed_look(binding.state, workload, message, wait, now))

    def _told(self, binding: Binding, result: str, message: str) -> None:
        workload = binding.workload
        self._hooks.looked(workload.trigger_kind, result)
        if not binding.state.failures:  # once when it begins, and once when it is over
            log.warning("trigger cannot look", workload=workload.id, kind=workload.trigger_kind, reason=message)

    def _save(self, state: TriggerState) -> None:
        try:
            save_state(self._database, state, self._hooks.now())
        except TriggerSuperseded:
            self._agenda.put(state.workload_id, _AGAIN_SECONDS)
