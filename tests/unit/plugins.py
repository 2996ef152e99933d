"""Sources that behave as strangers' do: well, badly, and not at all."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from controller.plugins.contract import Outcome, PluginConfigInvalid, ReconcileRequest, Result, Retry, Terminal
from controller.plugins.registry import Registry
from store.records import Workload
from tests.builders import HOST, workload

Reconcile = Callable[[ReconcileRequest], Any]


class Zoo:
    """One source of each kind of behaviour. ``calls`` counts them by workload; ``release`` ends the hanging ones."""

    def __init__(self, **more: Reconcile) -> None:
        self.calls: Counter[str] = Counter()
        self.released = threading.Event()
        self.hanging = threading.Semaphore(0)
        behaviours: dict[str, Reconcile] = {
            "fine": lambda _request: Outcome(Result.IN_SYNC),
            "repairs": lambda _request: Outcome(Result.REPAIRED, "started web"),
            "raises": _raise(ValueError("no such thing")),
            "exits": lambda _request: sys.exit(3),
            "interrupts": _raise(KeyboardInterrupt()),
            "garbage": lambda _request: {"result": "in_sync"},
            "nothing": lambda _request: None,
            "garbage-result": lambda _request: Outcome("a new word each time"),  # type: ignore[arg-type]
            "retries": _raise(Retry(40.0, "image not pulled yet")),
            "terminates": _raise(Terminal("no such image")),
            "misconfigured": _raise(PluginConfigInvalid("containers: must be a number")),
            "unspeakable": _raise(Unspeakable()),
            "hangs": self._hang,
        }
        self.sources = {kind: Beast(kind, self._counted(each)) for kind, each in (behaviours | more).items()}
        self.registry = Registry(sources=self.sources)

    def release(self) -> None:
        """Let every hanging call end."""
        self.released.set()

    def _hang(self, _request: ReconcileRequest) -> Outcome:
        self.hanging.release()
        self.released.wait()
        return Outcome(Result.IN_SYNC, "at last")

    def _counted(self, reconcile: Reconcile) -> Reconcile:
        def counted(request: ReconcileRequest) -> Any:
            self.calls[request.workload.id] += 1
            return reconcile(request)

        return counted


class Beast:
    """A source with the behaviour that it is given."""

    def __init__(self, kind: str, reconcile: Reconcile) -> None:
        self.kind = kind
        self.reconcile = reconcile

    def validate(self, config: Mapping[str, Any]) -> None:
        """Any configuration will do."""

    def config_schema(self) -> dict[str, Any]:
        """None in particular."""
        return {}


class Unspeakable(Exception):
    """An exception that cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError("it has no words")


def _raise(error: BaseException) -> Reconcile:
    def reconcile(_request: ReconcileRequest) -> Any:
        raise error

    return reconcile


def declared(workload_id: str, source_kind: str, **more: Any) -> Workload:
    """A workload with that source, and a trigger."""
    return workload(workload_id, "stack", **{"source_kind": source_kind, "trigger_kind": "manual", **more})


def request_for(workload_id: str, source_kind: str, **more: Any) -> ReconcileRequest:
    """What its source is asked."""
    return ReconcileRequest(declared(workload_id, source_kind, **more), (), (), HOST)
