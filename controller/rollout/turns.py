"""Holding the turn to deploy a workload: waiting for it, keeping it while the deploy goes on, giving it back.

Whoever holds it renews it often, so a holder that shows no sign of life is taken to be dead when its turn runs out.
On one machine the kernel knows earlier: a turn names its process.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from controller.errors import DeployInterrupted, DeployUnderWay, StoreError, TurnLost
from store.database import Database
from store.turns import Turn, find_turn, release_turn, renew_turn, take_turn

TTL_SECONDS = 10.0
_RENEWALS_PER_TTL = 5
_LOOK_SECONDS = 0.2
_STOP_SECONDS = 0.5
_ENDED = frozenset("ZX")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a turn that is somebody else's is waited for.

    ``seconds``: for a holder that lives. ``for_signs``: one that may be dead is waited for in any case, until its
    turn runs out or it shows a sign of life.
    """

    seconds: float = 0.0
    for_signs: bool = True


AT_ONCE = Patience(for_signs=False)


class HeldTurn:
    """A turn that is ours, kept by a thread of its own until it is given back."""

    def __init__(self, database: Database, turn: Turn, doing: str) -> None:
        self.turn = turn
        self.lost = ""
        self._database = database
        self._doing = doing
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"turn-{turn.workload_id}", daemon=True)
        self._thread.start()

    def say(self, doing: str) -> None:
        """What the turn is used for from now on, for others to read, and for history to name as the reason."""
        self._doing = doing
        self._renew()

    def give_back(self) -> None:
        """End; the next one need not wait."""
        self._over.set()
        self._thread.join(_STOP_SECONDS)
        try:
            release_turn(self._database, self.turn)
        except StoreError as error:
            log.warning("turn to deploy not given back, it runs out by itself", reason=str(error))

    def _keep(self) -> None:
        while not self.lost and not self._over.wait(self.turn.ttl_seconds / _RENEWALS_PER_TTL):
            self._renew()

    def _renew(self) -> None:
        try:
            renew_turn(self._database, self.turn, self._doing)
        except TurnLost as error:
            self.lost = str(error)
        except StoreError as error:
            log.debug("turn to deploy not renewed", reason=str(error))


@contextmanager
def turn_held(  # whose turn, what for, and for how long it is waited for
    database: Database,
    workload_id: str,
    doing: str,
    *,
    patience: Patience = Patience(),
    halt: threading.Event | None = None,
    ttl_seconds: float = TTL_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[HeldTurn]:
    """Hold the turn while the block lasts.

    :param halt: set when this process stops.
    :raises DeployUnderWay: it is somebody else's, and was so for all that time.
    :raises DeployInterrupted: this process stops.
    :raises NotFound: no such workload.
    """
    halt = halt or threading.Event()
    owner = f"{process_identity(os.getpid())}:{secrets.token_hex(8)}"
    turn = _wait_for(_Waiting(database, workload_id, patience, monotonic), owner, doing, ttl_seconds, halt)
    held = HeldTurn(database, turn, doing)
    try:
        yield held
    finally:
        held.give_back()


class _Waiting:
    """Looks at a turn that is somebody else's, and says whether to wait on."""

    def __init__(
        self, database: Database, workload_id: str, patience: Patience, monotonic: Callable[[], float]
    ) -> None:
        self.database = database
        self.workload_id = workload_id
        self._monotonic = monotonic
        self._until = monotonic() + patience.seconds
        self._for_signs = patience.for_signs
        self._seen: tuple[str, int, float] | None = None
        self.dead = ""

    def goes_on(self) -> bool:
        holder = find_turn(self.database, self.workload_id)
        if holder is None:
            return True
        self.dead = holder.owner if is_dead(holder.owner) else ""
        if self.dead or self._monotonic() < self._until:
            return True
        if not self._for_signs:
            return False
        now = (holder.owner, holder.token, holder.expires)
        self._seen = self._seen or now
        return self._seen == now


def _wait_for(waiting: _Waiting, owner: str, doing: str, ttl_seconds: float, halt: threading.Event) -> Turn:
    while True:
        try:
            return take_turn(
                waiting.database, waiting.workload_id, owner, doing, ttl_seconds, dead=waiting.dead or owner
            )
        except DeployUnderWay:
            if not waiting.goes_on():
                raise
        if not waiting.dead and halt.wait(_LOOK_SECONDS):
            raise DeployInterrupted("the process stops before it was its turn; deploy again")


def process_identity(pid: int, proc: Path = Path("/proc")) -> str:
    """Which process this is, so that another one on this machine can say whether it lives: ``boot:space:pid:start``.

    Empty parts where the kernel does not tell; such a process is never taken for dead.
    """
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        space = (proc / "self/ns/pid").stat().st_ino
        return f"{boot}:{space}:{pid}:{_life(pid, proc)[1]}"
    except (OSError, IndexError):
        return f"::{pid}:"


def is_dead(owner: str, proc: Path = Path("/proc")) -> bool:
    """Whether the kernel says that the process which made this owner's name is no more.

    False where it cannot know: another machine, another boot, another space of process ids.
    """
    boot, space, pid, start = (*owner.split(":"), "", "", "", "")[:4]
    ours = process_identity(os.getpid(), proc).split(":")
    if not start or [boot, space] != ours[:2] or not pid.isdecimal():
        return False
    try:
        state, began = _life(int(pid), proc)
    except FileNotFoundError:
        return _is_unknown(int(pid))
    except (OSError, IndexError):
        return False
    return began != start or state in _ENDED


def _is_unknown(pid: int) -> bool:
    """Whether there is no such process; the kernel says so too where /proc hides those of others (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _life(pid: int, proc: Path) -> tuple[str, str]:
    """State and start time of a process. Its name, in brackets, may hold anything, brackets and blanks too."""
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]
