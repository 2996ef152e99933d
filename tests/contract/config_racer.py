"""Run as a program: threads that read the config, add one to a setting, and store it under compare-and-swap.

``python -m tests.contract.config_racer PATH THREADS CHANGES``; prints the number of conflicts and time-outs that
were met on the way.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path

from controller.declared.config import patch_config
from controller.declared.config_file import ConfigFile
from controller.errors import GenerationConflict, LockTimeout
from tests.builders import NOW


def race(path: Path, changes: int, met: Counter[str]) -> None:
    """Add one, so many times, with a store of its own."""
    store = ConfigFile(path, lambda: NOW)
    for _ in range(changes):
        while not _added(store, met):
            pass


def _added(store: ConfigFile, met: Counter[str]) -> bool:
    seen = store.read()
    value = seen.content.get("interval_seconds", 0) + 1
    try:
        patch_config(store, {"interval_seconds": value}, author="racer", expected_generation=seen.generation)
    except GenerationConflict:
        met["conflict"] += 1
        return False
    except LockTimeout:
        met["time-out"] += 1
        return False
    return True


def main() -> None:
    """Start the threads, and wait for them."""
    path, threads, changes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    met: Counter[str] = Counter()
    racers = [threading.Thread(target=race, args=(path, changes, met)) for _ in range(threads)]
    for each in racers:
        each.start()
    for each in racers:
        each.join()
    print(met["conflict"], met["time-out"])


if __name__ == "__main__":
    main()
