"""One of several processes that spend one budget at once: `python -m tests.contract.healing_racer URL HOW_OFTEN`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from controller.healing.budget import ATTEMPTED, HealingLimits, spend_one
from store.database import open_database
from store.healing import spend
from store.healing_records import Budget
from store.history_records import Event, EventKind
from tests.builders import HOST, NOW

LIMITS = HealingLimits(attempts=25, window_seconds=600, first_backoff_seconds=0, last_backoff_seconds=0)


def main(url: str, how_often: int) -> int:
    """Ask so often; prints how many attempts were granted."""
    database = open_database(url)
    granted = 0

    def decide(budget: Budget) -> tuple[Budget, Sequence[Event]]:
        nonlocal granted
        spent = spend_one(budget, LIMITS, NOW)
        granted += spent.decision == ATTEMPTED
        told = Event(NOW, EventKind.HEALING, HOST, "shop", "shop-1", spent.decision)
        return spent.budget, [told] if spent.decision == ATTEMPTED else []

    for _ in range(how_often):
        spend(database, Budget(HOST, "shop-1", "shop", NOW), decide)
    sys.stdout.write(f"{granted}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
