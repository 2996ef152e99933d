"""Run as a program: threads that add one to a setting of the config, each so many times.

``python -m tests.contract.config_racer PATH THREADS CHANGES``. One thread in two reads, adds, and stores under
compare-and-swap, again and again until it gets through; the others change what the lock shows them. Prints the number
of conflicts and time-outs that were met on the way.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from controller.declared.config import patch_config
from controller.declared.config_file import ConfigFile
from controller.errors import GenerationConflict, LockTimeout
from tests.builders import NOW


def race(path: Path, changes: int, add: Callable[[ConfigFile], None], met: Counter[str]) -> None:
    """Add one, so many times, with a store of its own."""
    store = ConfigFile(path, lambda: NOW)
    done = 0
    while done < changes:
        try:
            add(store)
            done += 1
        except GenerationConflict:
            met["conflict"] += 1
        except LockTimeout:
            met["time-out"] += 1


def add_by_swap(store: ConfigFile) -> None:
    """Read, add, store if nobody else did."""
    seen = store.read()
    value = seen.content.get("interval_seconds", 0) + 1
    patch_config(store, {"interval_seconds": value}, author="racer", expected_generation=seen.generation)


def add_under_lock(store: ConfigFile) -> None:
    """Add to what is there when the lock is ours."""
    store.change(lambda found: {"interval_seconds": found.get("interval_seconds", 0) + 1}, author="racer")


def main() -> None:
    """Start the threads, and wait for them."""
    path, threads, changes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    met: Counter[str] = Counter()
    ways = itertools.cycle((add_by_swap, add_under_lock))
    racers = [threading.Thread(target=race, args=(path, changes, next(ways), met)) for _ in range(threads)]
    for each in racers:
        each.start()
    for each in racers:
        each.join()
    print(met["conflict"], met["time-out"])


if __name__ == "__main__":
    main()
