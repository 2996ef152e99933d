"""The one dispatcher: an event is offered to every workload that it may concern, and each gets an answer of its own.

event → match (pure) → intent → stored as owed → deploy → stored as answered. A deploy that was stored and not
answered, because the process died in between, is begun again by whoever leads next. What goes wrong with one
workload, in its trigger's code or in its deploy, is its own answer and nobody else's.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from controller.errors import (
    DeployUnderWay,
    NotFound,
    PluginError,
    StandingBy,
    TallydError,
    TriggerSuperseded,
    UsageError,
)
from controller.plugins.contract import HookRefused, HookRequest, Receiving, TriggerEvent, TriggerIntent, Workload
from controller.plugins.registry import Registry
from controller.rollout.rollouts import Deployed
from controller.triggers.agenda import Agenda
from controller.triggers.answers import Answer, Answered, candidates, claimed, is_new, settled
from controller.wording import words_of
from store.database import Database
from store.triggers import Binding, Owed, get_binding, list_bindings, save_state

MOST_DEPLOYS = 4
_MOST_TRIES = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DispatchHooks:
    """What the dispatcher needs from the process around it.

    ``deploy`` returns when it is known whether the revision serves. ``leads``: whether this controller leads.
    ``answered`` is told of every answer, with what it was about.
    """

    deploy: Callable[[Workload, Owed], Deployed]
    leads: Callable[[], bool]
    answered: Callable[[Answered, str], None]
    now: Callable[[], datetime]


class Dispatcher:
    """Dispatches for one host, from any thread. ``agenda`` is told when something owed is to be tried again."""

    def __init__(
        self, hooks: DispatchHooks, registry: Registry, database: Database, host: str, agenda: Agenda
    ) -> None:
        self._hooks = hooks
        self._registry = registry
        self._database = database
        self._host = host
        self._agenda = agenda
        self._chance = random.Random()
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._places = threading.Semaphore(MOST_DEPLOYS)
        self._stopping = False

    def stop(self) -> None:
        """Begin no more deploys. Those that go on are ended by whoever ends the engine's calls; they stay owed."""
        self._stopping = True

    def busy(self, workload_id: str) -> bool:
        """Whether a deploy of this workload goes on here."""
        return workload_id in self._busy

    def dispatch(self, event: TriggerEvent, actor: str) -> dict[str, Future[Answered]]:
        """Offer an event to all workloads of this host; a future answer for each that it was offered to.

        :raises StandingBy: this controller does not lead its host.
        :raises StoreError: the store cannot be read.
        """
        self._check_leads()
        bindings = candidates(list_bindings(self._database, self._host), event)
        return {each.workload.id: self._offer(each, event, actor) for each in bindings}

    def by_hand(self, workload_id: str, reason: str, actor: str) -> Future[Answered]:
        """Fire one workload's trigger by hand.

        :raises NotFound: no such workload, or it has no trigger, or another host dispatches it.
        :raises StandingBy: this controller does not lead its host.
        :raises StoreError: the store cannot be read.
        """
        get_binding(self._database, workload_id)
        event = TriggerEvent("manual", {"workload_id": workload_id, "reason": reason})
        found = self.dispatch(event, actor)
        if workload_id not in found:
            raise NotFound(f"workload {workload_id!r} is dispatched by another host than {self._host!r}; ask there")
        return found[workload_id]

    def receive(self, workload_id: str, request: HookRequest) -> Future[Answered]:
        """Take a call of a workload's webhook.

        :raises HookRefused: the caller proved nothing, or there is nobody to take the call; nobody is told which.
        :raises HookMalformed: signed well, but not readable.
        :raises StandingBy: this controller does not lead its host.
        :raises StoreError: the store cannot be read.
        """
        bindings = [each for each in list_bindings(self._database, self._host) if each.workload.id == workload_id]
        if not bindings:
            raise HookRefused
        workload = bindings[0].workload
        try:
            trigger = self._registry.trigger(workload.trigger_kind)
            if not isinstance(trigger, Receiving):
                raise HookRefused
            event = trigger.receive(workload, request)
        except PluginError as error:
            log.warning("webhook cannot be taken", workload=workload_id, reason=str(error))
            raise HookRefused from error
        self._check_leads()
        if event is None:
            return self._tell(_answer(workload, Answer.NO_MATCH, "the call tells of no push to a branch"), "webhook")
        return self._offer(bindings[0], event, "webhook")

    def take(self, binding: Binding, intent: TriggerIntent, actor: str) -> Future[Answered]:
        """Have an intent deployed, unless it is nothing new. The binding's state may hold what a look found anew.

        :raises TriggerSuperseded: another dispatcher was faster.
        :raises StoreError: the state cannot be stored; then nothing is deployed.
        """
        workload = binding.workload
        if not is_new(binding.state, intent):
            return self._tell(_answer(workload, Answer.SKIPPED, f"nothing new: {intent.reason}"), intent.reason)
        state = claimed(binding.state, intent, actor, self._hooks.now())
        save_state(self._database, state, self._hooks.now())
        owed = state.owed if not intent.once and state.owed is not None else _unowed(intent, actor)
        begun = self._begin(workload, owed)
        if begun is not None:
            return begun
        return self._tell(_answer(workload, Answer.SKIPPED, _follows(intent)), intent.reason)

    def resume(self, binding: Binding) -> None:
        """Begin again what is owed; nothing where it goes on here."""
        if binding.state.owed is not None:
            self._begin(binding.workload, binding.state.owed)

    def _offer(self, binding: Binding, event: TriggerEvent, actor: str) -> Future[Answered]:
        workload = binding.workload
        try:
            intent = self.matched(workload, event)
            if intent is None:
                return self._tell(_answer(workload, Answer.NO_MATCH, f"no match for {event.kind}"), event.kind)
            return self._insist(binding, intent, actor)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a stranger's code ends here; its answer says so
            return self._tell(_answer(workload, Answer.ERRORED, _told(error)), event.kind)

    def _insist(self, binding: Binding, intent: TriggerIntent, actor: str) -> Future[Answered]:
        """As :meth:`take`; what somebody else stored meanwhile, such as a look, is no reason to lose an event."""
        for _ in range(_MOST_TRIES - 1):
            try:
                return self.take(binding, intent, actor)
            except TriggerSuperseded:
                binding = get_binding(self._database, binding.workload.id)
        return self.take(binding, intent, actor)

    def matched(self, workload: Workload, event: TriggerEvent) -> TriggerIntent | None:
        """What a workload's trigger makes of an event.

        :raises Exception: whatever the trigger raises.
        """
        intent = self._registry.trigger(workload.trigger_kind).match(workload, event)
        if intent is not None and not (isinstance(intent, TriggerIntent) and intent.workload_id == workload.id):
            raise TypeError(f"match answered {type(intent).__name__} that is no intent of this workload")
        return intent

    def _begin(self, workload: Workload, owed: Owed) -> Future[Answered] | None:
        """Deploy on a thread of its own; ``None`` where a deploy of this workload goes on here."""
        with self._lock:
            if workload.id in self._busy or self._stopping:
                return None
            self._busy.add(workload.id)
        future: Future[Answered] = Future()
        name = f"deploy-{workload.id}"
        try:
            threading.Thread(target=self._run, args=(workload, owed, future), name=name, daemon=True).start()
        except RuntimeError:  # the system gives no more threads; it stays owed
            self._busy.discard(workload.id)
            return None
        return future

    def _run(self, workload: Workload, owed: Owed, future: Future[Answered]) -> None:
        answered = _answer(workload, Answer.ERRORED, "the controller stops")
        try:
            with self._places:
                answered = answered if self._stopping else self._deploy(workload, owed)
            if not self._stopping:
                self._settle(workload.id, owed, answered)
        except TallydError as error:
            log.warning("answer of a trigger is not stored", workload=workload.id, reason=str(error))
        finally:
            with self._lock:
                self._busy.discard(workload.id)
            self._agenda.put(workload.id)
            self._tell(answered, owed.reason, future)

    def _deploy(self, workload: Workload, owed: Owed) -> Answered:
        try:
            return verdict_of(workload, self._hooks.deploy(workload, owed))
        except DeployUnderWay as error:
            return replace(_answer(workload, Answer.SKIPPED, str(error)), again=True, busy=True)
        except (PluginError, UsageError, NotFound) as error:
            return _answer(workload, Answer.ERRORED, str(error))
        except TallydError as error:
            return replace(_answer(workload, Answer.ERRORED, str(error)), again=True)
        except (Exception, SystemExit) as error:
            log.exception("deploy failed by a defect", workload=workload.id)
            return _answer(workload, Answer.ERRORED, _told(error))

    def _settle(self, workload_id: str, owed: Owed, answered: Answered) -> None:
        """Store the answer; somebody else may store something meanwhile, which then stays.

        :raises StoreError: it cannot be stored.
        """
        for last in reversed(range(_MOST_TRIES)):
            now = self._hooks.now()
            state = settled(get_binding(self._database, workload_id).state, owed, answered, now, self._chance)
            try:
                save_state(self._database, state, now)
            except TriggerSuperseded:
                if not last:
                    raise
                continue
            if state.owed is not None and state.owed.again_at:
                again_at = datetime.fromisoformat(state.owed.again_at)
                self._agenda.put(workload_id, (again_at - now).total_seconds())
            return

    def _check_leads(self) -> None:
        if not self._hooks.leads() or self._stopping:
            raise StandingBy(f"this controller does not lead host {self._host!r}, so it dispatches nothing")

    def _tell(self, answered: Answered, about: str, future: Future[Answered] | None = None) -> Future[Answered]:
        told = future or Future()
        try:
            self._hooks.answered(answered, about)
        except Exception:  # whoever listens must not keep the answer from who waits for it
            log.exception("an answer could not be told")
        told.set_result(answered)
        return told


def verdict_of(workload: Workload, deployed: Deployed) -> Answered:
    """How a deploy ended, as an answer. Pure."""
    walked, revision_id = deployed.walked, deployed.revision_id
    if not walked.arrived:
        failed = _answer(workload, Answer.ERRORED, f"{revision_id} does not serve: {walked.detail}")
        return replace(failed, revision_id=revision_id, again=True)
    if not walked.steps:
        return replace(_answer(workload, Answer.SKIPPED, f"{revision_id} serves already"), revision_id=revision_id)
    return replace(_answer(workload, Answer.DEPLOYED, f"{revision_id} serves"), revision_id=revision_id)


def _answer(workload: Workload, answer: Answer, message: str) -> Answered:
    return Answered(workload.id, workload.trigger_kind, answer, message)


def _unowed(intent: TriggerIntent, actor: str) -> Owed:
    return Owed(0, intent.reason, intent.key, intent.reference, intent.digest, actor=actor)


def _follows(intent: TriggerIntent) -> str:
    return "a deploy is under way" + ("" if intent.once else "; this one follows")


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, TallydError) else words_of(error)
