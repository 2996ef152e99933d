"""`controller.loop.activations`: one is in force; a replaced one is kept while somebody may work with it."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from dataclasses import replace

import pytest

from controller.labels import LabelNames
from controller.loop.activations import Activations
from controller.loop.converge import ConvergeLimits, Converger
from controller.loop.tick import Activation
from controller.plugins.registry import Registry
from tests.unit.passes import Passes, Times

SWAPS = 1000


def numbered(activation: Activation, number: int) -> tuple[Activation, weakref.ref[Converger]]:
    """The same with this number in each of its parts; and whether it is still there."""
    converger = Converger(Registry(), ConvergeLimits(workers=number), chance=random.Random())
    made = replace(activation, host=f"h{number}", names=LabelNames(f"p{number}"), converger=converger)
    return made, weakref.ref(converger)


def is_there(part: weakref.ref[Converger]) -> bool:
    """Whether anybody still holds it."""
    gc.collect()
    return part() is not None


def test_a_replaced_one_is_kept_for_the_drain_window(passes: Passes) -> None:
    """W10: and dropped by whoever asks next after it."""
    times = Times()
    first, of_first = numbered(passes.activation, 1)
    activations = Activations(first, lambda: times.monotonic)
    del first
    second, _ = numbered(passes.activation, 2)
    activations.swap(second, 10.0)
    assert (activations.current(), activations.draining, is_there(of_first)) == (second, 1, True)
    times.go_on(9.9)
    assert (activations.current(), activations.draining, is_there(of_first)) == (second, 1, True)
    times.go_on(0.1)
    assert (activations.current(), is_there(of_first), activations.draining) == (second, False, 0)


def test_zero_drops_it_at_once(passes: Passes) -> None:
    """W10: unless somebody works with it."""
    first, of_first = numbered(passes.activation, 1)
    activations = Activations(first, lambda: 0.0)
    del first
    in_use = activations.current()
    activations.swap(numbered(passes.activation, 2)[0], 0.0)
    assert (in_use.host, is_there(of_first)) == ("h1", True)
    del in_use
    assert not is_there(of_first), "nobody has to ask first"
    assert activations.draining == 0


def test_each_has_a_window_of_its_own(passes: Passes) -> None:
    """W10: a swap neither prolongs nor shortens the window of an earlier one."""
    times = Times()
    activations = Activations(numbered(passes.activation, 1)[0], lambda: times.monotonic)
    for number, window_seconds in enumerate((30.0, 5.0, 0.0), start=2):
        activations.swap(numbered(passes.activation, number)[0], window_seconds)
    assert (activations.draining, activations.current().host) == (2, "h4")
    times.go_on(5)
    assert activations.draining == 1
    times.go_on(25)
    assert activations.draining == 0


@pytest.mark.parametrize("drain_seconds", [0.0, 3.0])
def test_readers_never_see_half_of_two(passes: Passes, drain_seconds: float) -> None:
    """W8: four threads that read during a thousand swaps; what each sees is whole, and never older than before."""
    times = Times()
    activations = Activations(numbered(passes.activation, 1)[0], lambda: times.monotonic)
    over, wrong, seen = threading.Event(), [], [0, 0, 0, 0]

    def read(reader: int) -> None:
        last = 0
        while not over.is_set():
            bound = activations.current()
            parts = {bound.host[1:], bound.names.prefix[1:], str(bound.converger._limits.workers)}
            number = int(bound.host[1:])
            if len(parts) != 1 or number < last:
                wrong.append((reader, parts, last))
            last, seen[reader] = number, seen[reader] + 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for each in readers:
        each.start()
    for number in range(2, SWAPS + 2):
        activations.swap(numbered(passes.activation, number)[0], drain_seconds)
        times.go_on(1)
    over.set()
    for each in readers:
        each.join()
    assert (wrong, min(seen) > 0) == ([], True)
    assert activations.current().host == f"h{SWAPS + 1}"
    assert activations.draining <= drain_seconds
