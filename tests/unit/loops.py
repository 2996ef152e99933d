"""A loop with everything that it needs, and what it reported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.clock import Clock
from controller.engine.client import EngineClient
from controller.loop.report import TickReport
from controller.loop.schedule import Loop, LoopHooks
from controller.loop.tick import Activation
from tests.builders import NOW
from tests.harness import wait_until

LONG, SHORT = 300.0, 0.05


@dataclass
class Running:
    """A loop with everything that it needs, and what it reported."""

    activation: Activation
    client: EngineClient
    reports: list[TickReport] = field(default_factory=list)
    told: Callable[[TickReport], None] = lambda _report: None
    loops: list[Loop] = field(default_factory=list)

    def loop(self, interval_seconds: float = LONG, clock: Clock | None = None) -> Loop:
        """A loop that is not started yet."""
        hooks = LoopHooks(current=lambda: self.activation, reported=self.report, cancel=self.cancel)
        self.loops.append(Loop(hooks, clock or Clock(now=lambda: NOW), interval_seconds))
        return self.loops[-1]

    def started(self, interval_seconds: float = LONG) -> Loop:
        """A loop after its boot pass."""
        loop = self.loop(interval_seconds)
        loop.start()
        wait_until(lambda: self.reports, what="the boot pass")
        return loop

    def report(self, report: TickReport) -> None:
        """The hook of the loop."""
        self.reports.append(report)
        self.told(report)

    def cancel(self) -> None:
        """The hook of the loop."""
        self.client.cancel()
        self.activation.converger.stop()

    @property
    def outcomes(self) -> list[str]:
        """Of all passes so far."""
        return [str(report.outcome) for report in self.reports]


def loop_threads() -> list[threading.Thread]:
    """Threads of loops that have not ended."""
    return [thread for thread in threading.enumerate() if thread.name == "loop"]
