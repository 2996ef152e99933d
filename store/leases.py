"""One controller leads a host at a time, by a lease that every write is fenced with (R22).

Expiry is judged by the store's clock alone, so controllers whose clocks disagree still agree on who leads. A
controller that was stopped past its lease and goes on later carries an old token; its write is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Float, bindparam, cast, func, literal_column, or_, select, true, update

from store.database import Database
from store.errors import LeaseHeld, LeaseLost, NotFound
from store.tables import HOSTS


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one host's rows. ``owner`` is random per process; ``token`` rises with each take-over."""

    host: str
    owner: str
    token: int
    ttl_seconds: float


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads a host now, and how it is asked for a pass."""

    owner: str
    address: str
    control_token: str
    seconds_left: float


def store_clock(dialect: str) -> ColumnElement[float]:
    """The store's own clock, in seconds since the epoch."""
    if dialect == "postgresql":
        return cast(func.extract("epoch", func.clock_timestamp()), Float)
    return literal_column("(julianday('now') - 2440587.5) * 86400.0", Float)


def acquire_lease(
    database: Database,
    host: str,
    owner: str,
    ttl_seconds: float,
    *,
    address: str = "",
    control_token: str = "",
    holder_is_dead: bool = False,
) -> Lease:
    """Take the lease, if it is free, run out, or ours already.

    :param holder_is_dead: take it in any case. Being wrong about it costs the holder its next write, nothing more.
    :raises LeaseHeld: another controller leads, and its lease has not run out.
    :raises NotFound: the host is not registered.
    """
    clock = store_clock(database.dialect)
    free = or_(HOSTS.c.lease_owner.in_(["", owner]), HOSTS.c.lease_expires < clock)
    statement = (
        update(HOSTS)
        .where(HOSTS.c.id == host, true() if holder_is_dead else free)
        .values(
            lease_owner=owner,
            lease_token=HOSTS.c.lease_token + 1,
            lease_expires=clock + ttl_seconds,
            address=address,
            control_token=control_token,
        )
        .returning(HOSTS.c.lease_token)
    )
    with database.writing() as connection:
        token = connection.execute(statement).scalar()
    if token is not None:
        return Lease(host, owner, token, ttl_seconds)
    leader = find_leader(database, host)
    raise LeaseHeld(host, leader.address, leader.seconds_left)


def renew_lease(database: Database, lease: Lease) -> None:
    """Prolong a lease; also one that ran out, if nobody took it since.

    :raises LeaseLost: it is somebody else's.
    """
    expires = store_clock(database.dialect) + lease.ttl_seconds
    statement = update(HOSTS).where(*FENCE).values(lease_expires=expires)
    with database.writing() as connection:
        if connection.execute(statement, fence_of(lease)).rowcount != 1:
            raise LeaseLost(f"host {lease.host!r}: another controller took the lease")


def release_lease(database: Database, lease: Lease) -> None:
    """Give the lease back, so that another controller need not wait for it; does nothing if it is lost."""
    statement = update(HOSTS).where(*FENCE).values(lease_owner="", lease_expires=0.0, control_token="")
    with database.writing() as connection:
        connection.execute(statement, fence_of(lease))


def find_leader(database: Database, host: str) -> Leader:
    """Who holds the lease; an empty owner where nobody does, negative seconds where it has run out.

    :raises NotFound: the host is not registered.
    """
    left = HOSTS.c.lease_expires - store_clock(database.dialect)
    columns = (HOSTS.c.lease_owner, HOSTS.c.address, HOSTS.c.control_token, left)
    with database.reading() as connection:
        row = connection.execute(select(*columns).where(HOSTS.c.id == host)).one_or_none()
    if row is None:
        raise NotFound(f"host {host!r} is not in the store; a controller registers it when it starts")
    return Leader(*row)


FENCE = (
    HOSTS.c.id == bindparam("lease_host"),
    HOSTS.c.lease_owner == bindparam("fence_owner"),
    HOSTS.c.lease_token == bindparam("fence_token"),
)
"""The condition that fences a write: this host is still led under this token. Its values are :func:`fence_of`'s."""


def fence_of(lease: Lease) -> dict[str, object]:
    """The values of :data:`FENCE`."""
    return {"lease_host": lease.host, "fence_owner": lease.owner, "fence_token": lease.token}
