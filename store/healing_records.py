"""What is kept so that healing has a budget and can be told to stop (S5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """What was spent on one slot. ``failures`` are attempts since it last stayed up for a whole window.

    ``attempts_at``, oldest first, holds what may still count; ``reason`` is the last answer, so that history is told
    of another one only.
    """

    host: str
    slot: str
    workload_id: str
    asked_at: datetime
    attempts_at: tuple[datetime, ...] = ()
    failures: int = 0
    not_before: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """That something is left alone. An empty slot: the whole workload; an empty workload: the whole host.

    An empty host is every host. One that is over is kept for a while: it says until when a person's stop counted.
    """

    host: str
    workload_id: str
    slot: str
    author: str
    reason: str
    created_at: datetime
    expires_at: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        """Whether it still holds."""
        return self.expires_at is None or now < self.expires_at

    @property
    def scope(self) -> str:
        """``host``, ``workload`` or ``slot``."""
        return "slot" if self.slot else "workload" if self.workload_id else "host"

    @property
    def place(self) -> str:
        """What is held, for people."""
        return self.slot or self.workload_id or f"host {self.host}"
