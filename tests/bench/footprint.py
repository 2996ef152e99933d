"""P7 and P8: what the process holds, what it takes while nothing happens, and how soon it is of use."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections import Counter

from tests.bench.figures import Result, Target, summarised
from tests.bench.program import Program, environment_of, running
from tests.bench.stage import Stage, prepare_store, settings_for

MEMORY = Target(110.0)
MEMORY_OF_MANY = Target(170.0)
IDLE = Target(0.3)
FIRST_INDEX = Target(1.5)
_TICKS = 10
_SETTLE_SECONDS = 3.0
_IMPORT_LINE = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \| +(\S+)$", re.M)
_SHOWN_PACKAGES = 8


def measure_footprint(stage: Stage) -> list[Result]:
    """P7: idle CPU over a while of doing nothing but ticks, then memory after so many ticks."""
    count, seconds = len(stage.containers), stage.scale.idle_seconds
    url = stage.new_store()
    prepare_store(settings_for(url), stage.engine.endpoint).close()
    with running(environment_of(stage.engine.endpoint, url)) as program:
        program.wait_for("engine connected")
        program.ignore_log()
        time.sleep(min(_SETTLE_SECONDS, seconds))  # the web framework is imported after the first pass
        idle = _idle_percent(program, seconds)
        after_boot = program.resident_megabytes
        for _ in range(min(_TICKS, stage.scale.pairs) - 1):
            program.tick()
        resident = program.resident_megabytes
    memory = MEMORY if count <= stage.scale.containers else MEMORY_OF_MANY
    return [
        Result("P7", f"resident memory after {_TICKS} ticks, {count:,} created", resident, "MB", target=memory,
               note=f"{after_boot:.0f} MB while idle after the boot tick"),
        Result("P7", f"idle CPU at an interval of 30 s, {count:,} created", idle, "% of a core", target=IDLE,
               note=f"over {seconds:g} s"),
    ]  # fmt: skip


def _idle_percent(program: Program, seconds: float) -> float:
    before, began = program.cpu_seconds, time.perf_counter()
    time.sleep(seconds)
    return 100 * (program.cpu_seconds - before) / (time.perf_counter() - began)


def measure_first_index(stage: Stage) -> list[Result]:
    """P8: the process starts on an empty store, and again on the store that it left behind."""
    fresh: list[float] = []
    again: list[float] = []
    until_start: list[float] = []
    for _ in range(stage.scale.cold_starts):
        environment = environment_of(stage.engine.endpoint, stage.new_store())
        for seconds in (fresh, again):
            with running(environment) as program:
                starting = program.wait_for("starting")
                seconds.append(program.wait_for("engine connected"))
                program.ignore_log()
        until_start.append(starting)
    name = f"process start → first complete index, {len(stage.containers):,} containers"
    imports, of_packages = _import_times()
    note = f"{imports:.2f} s of imports by -X importtime: {of_packages}"
    before = f"until it says `starting`: {statistics.median(until_start):.2f} s"
    return [
        summarised("P8", f"{name}, empty store", fresh, "s", FIRST_INDEX, f"with migration; {note}"),
        summarised("P8", f"{name}, a store with these rows", again, "s", FIRST_INDEX, before),
    ]


def _import_times() -> tuple[float, str]:
    """Seconds of all imports of the command line, and the packages that take most of them (their own time)."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import controller.cli"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    own: Counter[str] = Counter()
    for microseconds, _, module in _IMPORT_LINE.findall(told):
        own[module.partition(".")[0]] += int(microseconds)
    most = ", ".join(f"{name} {spent / 1000:.0f} ms" for name, spent in own.most_common(_SHOWN_PACKAGES))
    return own.total() / 1e6, most
