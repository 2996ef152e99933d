"""The clocks of the process: the one place that asks what time it is. Everything else is given them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall clock and monotonic clock, both passed in."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic


CLOCK = Clock(now=lambda: datetime.now(UTC))
