"""One soak: mischief for a while, then quiet, then the judgement."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from store.database import open_database
from store.history import read_events
from store.history_records import MOST_READ as PAGE
from store.history_records import Event, EventFilter, EventKind
from tests.harness import wait_until
from tests.soak.judge import disagreements, overruns
from tests.soak.mischief import happen, release
from tests.soak.stage import PREFIX, REPLICAS, Stage

SETTLING_SECONDS = 240.0
PAUSE_SECONDS = (0.5, 4.0)


@dataclass(frozen=True)
class Soaked:
    """What was done, and what is wrong: where world and declaration disagree, and where a budget was overrun."""

    done: Counter[str]
    disagreeing: Sequence[str]
    overrun: Sequence[str]
    seconds_to_agree: float
    events: int

    @property
    def problems(self) -> Sequence[str]:
        """All that is wrong."""
        return [*self.disagreeing, *self.overrun]


def soak(seconds: float, seed: int, tell: Callable[[str], None]) -> Soaked:
    """Start everything, let things happen for so long, and judge."""
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    stage = Stage()
    try:
        stage.start()
        with _counted_starts(stage) as starts:
            tell(f"everything runs; mischief for {seconds:g} s, seed {seed}")
            ends = time.monotonic() + seconds
            while (left := ends - time.monotonic()) > 0:
                what = happen(stage, chance)
                done[what.partition(" ")[0].rstrip(":")] += 1
                tell(what)
                threading.Event().wait(min(left, chance.uniform(*PAUSE_SECONDS)))
            tell("quiet now; what could not be deployed is deployed again, and then all has to agree")
            _calm(stage, chance)
            for name in ("web", "stack", "site"):
                tell(stage.tallyd("deploy", name, "--wait").stderr.strip())
            began = time.monotonic()
            wrong = _settled(stage, chance)
            took = time.monotonic() - began
            for each in wrong:
                tell(f"{each}\n{stage.tallyd('why', each.partition(':')[0]).stdout[-3000:]}")
            history = _history(stage)
        healings = [each for each in history if each.kind == EventKind.HEALING]
        warmed = _warmed(history)
        return Soaked(done, wrong, overruns(healings, starts, warmed), took, len(history))
    finally:
        stage.close()


def _settled(stage: Stage, chance: random.Random) -> list[str]:
    """Wait until nothing disagrees, with everything thawed and released; what still does."""
    last: list[str] = []

    def agrees() -> bool:
        _calm(stage, chance)
        last[:] = disagreements(stage)
        return not last

    with contextlib.suppress(AssertionError):
        wait_until(agrees, SETTLING_SECONDS, "declared and real agree")
    return last


def _calm(stage: Stage, chance: random.Random) -> None:
    for each in stage.client.containers(filters={"status": "paused"}):
        stage.client.unpause(each["Id"])
    release(stage, chance)


@contextlib.contextmanager
def _counted_starts(stage: Stage) -> Iterator[Counter[str]]:
    """How often the engine starts each container of `image`, by its own account."""
    starts: Counter[str] = Counter()
    client = stage.engine.client()
    events = client.events(decode=True, filters={"type": "container", "event": "start"})

    def count() -> None:
        for each in events:
            name = each["Actor"]["Attributes"].get("name", "")
            if name.startswith((f"{PREFIX}-web-", f"{PREFIX}-api-")):
                starts[name] += 1

    counting = threading.Thread(target=count, daemon=True)
    counting.start()
    try:
        yield starts
    finally:
        events.close()
        counting.join(10)
        client.close()


def _history(stage: Stage) -> list[Event]:
    found: list[Event] = []
    with contextlib.closing(open_database(stage.tallyd.environment["TALLYD_DATABASE_URL"])) as database:
        while True:
            last = found[-1].id if found else 0
            page = read_events(database, EventFilter(after_id=last, limit=PAGE, newest=False))
            found += page
            if len(page) < PAGE:
                return found


def _warmed(history: Sequence[Event]) -> Counter[str]:
    """How often a deploy may have started each container: once for each time that its revision was warmed, also where
    a deploy that was cut short is gone on with.
    """
    warming = [each for each in history if each.kind == EventKind.DEPLOY and each.reason in ("warming", "resumed")]
    warmed = Counter(each.subject for each in warming)
    return Counter(
        {
            f"{PREFIX}-{revision}-{number}": count
            for revision, count in warmed.items()
            for number in range(1, max(REPLICAS.values()) + 1)
        }
    )
