"""Python's garbage collector, told what need not be looked at."""

from __future__ import annotations

import gc

_OBJECTS_OF_A_PASS = 50_000


def settle_memory() -> None:
    """Once everything is imported and built: none of it is ever garbage, so Python's collector need not look there.

    A whole collection over all modules takes as long as a tick, and falls into one of every few. A pass that finds
    every row changed makes tens of thousands of objects and drops them; there is nothing to find among them either.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_OF_A_PASS)
