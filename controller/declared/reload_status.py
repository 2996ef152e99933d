"""What is known of reloads, from outside: what is in force since when, and what went wrong last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from controller.declared.reloaded import Reloaded, ReloadResult
from store.declared import Plan


class ReloadStatus:
    """Fed with every rebuild; read by API, readiness and doctor. Safe from several threads."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._last: Reloaded | None = None
        self._activated: Reloaded | None = None
        self._failed: Reloaded | None = None
        self._half_swapped = False
        self._restart_needed: tuple[str, ...] = ()
        self._plan: Plan | None = None

    def record(self, reloaded: Reloaded, restart_needed: tuple[str, ...] = ()) -> None:
        """Take note of a rebuild."""
        with self._lock:
            self._last = reloaded
            if reloaded.result is ReloadResult.ERROR:
                self._failed = reloaded
                self._half_swapped |= reloaded.error is not None and reloaded.error.restart_required
                return
            self._restart_needed = restart_needed
            if reloaded.result is ReloadResult.ACTIVATED or self._activated is None:
                self._activated = reloaded

    def record_plan(self, plan: Plan) -> None:
        """Take note of what manifests did to the workloads."""
        with self._lock:
            self._plan = plan

    def not_ready_because(self) -> list[str]:
        """Why the process cannot be relied on; empty when it can (H6). Only a restart mends it."""
        return ["restart required: a reload failed half-way"] if self._half_swapped else []

    def as_dict(self) -> dict[str, Any]:
        """The answer of the API. An error that a later rebuild mended is told with ``mended: true``."""
        with self._lock:
            last, activated, failed, plan = self._last, self._activated, self._failed, self._plan
            restart_needed = list(self._restart_needed)
        return {
            "generation": last.generation if last else 0,
            "result": str(last.result) if last else None,
            "at": last.at.isoformat() if last else None,
            "activated_at": activated.at.isoformat() if activated else None,
            "restart_needed": restart_needed,
            "workloads_kept": dict(plan.kept) if plan else {},
            "last_error": None
            if failed is None
            else self._error(failed, mended=failed is not last and not self._half_swapped),
        }

    def _error(self, failed: Reloaded, *, mended: bool) -> dict[str, Any]:
        age = (self._now() - failed.at).total_seconds()
        return {"detail": failed.detail, "at": failed.at.isoformat(), "age_seconds": round(age, 1), "mended": mended}
