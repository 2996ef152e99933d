"""Keeping the host's lease while this controller lives, and taking it over when another one's runs out (R22).

Every pass that writes prolongs the lease by itself; this thread does so only when passes fail or take long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog
from filelock import FileLock, Timeout

from controller.errors import LeaseHeld, LeaseLost, StoreError
from store.database import Database
from store.leases import Lease, acquire_lease, release_lease, renew_lease

TTL_INTERVALS = 1.5
SHORTEST_LEASE_SECONDS = 1.0
_RENEW_AFTER = 0.8
_LOOKS_PER_TTL = 10
_STOP_SECONDS = 0.5

log = structlog.get_logger(__name__)


def lease_seconds(interval_seconds: float) -> float:
    """How long a lease lasts for a controller that ticks at this interval."""
    return max(SHORTEST_LEASE_SECONDS, TTL_INTERVALS * interval_seconds)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who stands for a host: random owner, lifetime of its leases in seconds, and how a leader is reached."""

    host: str
    owner: str
    ttl_seconds: float
    address: str = ""
    control_token: str = ""


class LeaseKeeper:
    """Holds the lease or waits for it. Safe from several threads."""

    def __init__(
        self,
        database: Database,
        candidate: Candidate,
        monotonic: Callable[[], float],
        gained: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._candidate = candidate
        self._monotonic = monotonic
        self._gained = gained
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._renewed_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._life = _life_lock(database, candidate.host)

    @property
    def held(self) -> bool:
        """Whether this controller leads, as far as it knows."""
        return self._lease is not None

    def current(self) -> Lease:
        """The lease to write under.

        :raises LeaseHeld: another controller leads.
        :raises StoreError: the store cannot be asked.
        """
        with self._lock:
            if self._lease is None:
                self._lease = self._acquire()
                self._renewed_at = self._monotonic()
            return self._lease

    def set_ttl(self, ttl_seconds: float) -> None:
        """Ask for another lifetime from the next renewal on."""
        with self._lock:
            self._candidate = replace(self._candidate, ttl_seconds=ttl_seconds)
            if self._lease is not None:
                self._lease = replace(self._lease, ttl_seconds=ttl_seconds)

    def committed(self) -> None:
        """A pass was committed, and has prolonged the lease."""
        self._renewed_at = self._monotonic()

    def lost(self) -> None:
        """A write was refused: somebody else leads."""
        with self._lock:
            self._lease = None

    def start(self) -> None:
        """Begin to look after the lease."""
        self._thread.start()

    def stop(self) -> None:
        """End, and give the lease back so that another controller need not wait."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        with self._lock:
            lease, self._lease = self._lease, None
        try:
            if lease is not None:
                release_lease(self._database, lease)
        except StoreError as error:
            log.warning("lease not given back, it runs out by itself", reason=str(error))
        finally:
            if self._life is not None:
                self._life.release()

    def _run(self) -> None:
        while not self._stopping.wait(self._candidate.ttl_seconds / _LOOKS_PER_TTL):
            try:
                self._look()
            except LeaseHeld:
                continue
            except LeaseLost as error:
                log.warning("lease lost", reason=str(error))
                self.lost()
            except StoreError as error:
                log.debug("lease not renewed", reason=str(error))

    def _look(self) -> None:
        if not self.held:
            self.current()
            log.info("leading", host=self._candidate.host)
            self._gained()
            return
        self._nobody_lives()  # a leader that took over a lease takes the lock too, as soon as it is free
        if self._monotonic() - self._renewed_at > _RENEW_AFTER * self._candidate.ttl_seconds:
            renew_lease(self._database, self.current())
            self._renewed_at = self._monotonic()

    def _acquire(self) -> Lease:
        who = self._candidate
        return acquire_lease(
            self._database,
            who.host,
            who.owner,
            who.ttl_seconds,
            address=who.address,
            control_token=who.control_token,
            holder_is_dead=self._nobody_lives(),
        )

    def _nobody_lives(self) -> bool:
        """Whether the kernel says that no other process leads this host: then a lease in the store is a dead one's.

        Only for SQLite, whose users are all on this machine. It is said once, when this process takes the lock: who
        holds it already learns nothing from it about one that leads without it, after a lease ran out.
        """
        if self._life is None or self._life.is_locked:
            return False
        try:
            self._life.acquire(blocking=False)
        except (Timeout, OSError):
            return False
        return True


def _life_lock(database: Database, host: str) -> FileLock | None:
    return None if database.path is None else FileLock(f"{database.path}.{host}.lock", thread_local=False)
