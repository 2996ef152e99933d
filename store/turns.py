"""One deploy of a workload at a time, in whatever process: by a turn that the writes of a deploy are fenced with.

Expiry is judged by the store's clock alone, as that of a lease is. Who was stopped past its turn and goes on later
carries an old token; its writes are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, or_, select, true, update

from store.activity_tables import DEPLOY_TURNS
from store.database import Database, insert_into
from store.errors import DeployUnderWay, TurnLost
from store.leases import store_clock
from store.workloads import get_in

_T = DEPLOY_TURNS.c


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to deploy one workload. ``owner`` is random per deploy; ``token`` rises with each taking."""

    workload_id: str
    owner: str
    token: int
    ttl_seconds: float


@dataclass(frozen=True, slots=True)
class TurnHolder:
    """Whose turn it is, and what for. ``expires`` is a time of the store's clock; ``seconds_left`` until then."""

    owner: str
    token: int
    doing: str
    expires: float
    seconds_left: float


def take_turn(
    database: Database, workload_id: str, owner: str, doing: str, ttl_seconds: float, *, dead: str = ""
) -> Turn:
    """Take the turn, if it is free, run out, or ours already.

    :param dead: an owner that is known to be no more. Being wrong about it costs that one its next write.
    :raises DeployUnderWay: it is somebody else's.
    :raises NotFound: no such workload.
    """
    clock = store_clock(database.dialect)
    values = {"owner": owner, "doing": doing, "expires": clock + ttl_seconds}
    free = or_(_T.owner.in_(["", owner, dead]), _T.expires < clock)
    adding = insert_into(DEPLOY_TURNS, database.dialect).values(workload_id=workload_id, token=1, **values)
    taking = adding.on_conflict_do_update(
        index_elements=[_T.workload_id], set_=values | {"token": _T.token + 1}, where=free
    ).returning(_T.token)
    with database.writing() as connection:
        get_in(connection, workload_id, locked=True)
        token = connection.execute(taking).scalar()
        if token is not None:
            return Turn(workload_id, owner, token, ttl_seconds)
        held = _holder(connection, database.dialect, workload_id)
    assert held is not None
    raise DeployUnderWay(workload_id, held.doing, held.seconds_left)


def renew_turn(database: Database, turn: Turn, doing: str) -> None:
    """Prolong a turn, also one that ran out if nobody took it since, and say what it is used for.

    :raises TurnLost: it is somebody else's.
    """
    expires = store_clock(database.dialect) + turn.ttl_seconds
    statement = update(DEPLOY_TURNS).where(*_fence(turn)).values(expires=expires, doing=doing)
    with database.writing() as connection:
        if connection.execute(statement).rowcount != 1:
            raise TurnLost(turn.workload_id)


def release_turn(database: Database, turn: Turn) -> None:
    """Give the turn back, so that nobody need wait for it to run out; does nothing if it is lost."""
    statement = update(DEPLOY_TURNS).where(*_fence(turn)).values(owner="", doing="", expires=0.0)
    with database.writing() as connection:
        connection.execute(statement)


def find_turn(database: Database, workload_id: str) -> TurnHolder | None:
    """Whose turn it is; ``None`` where it is nobody's, or has run out."""
    with database.reading() as connection:
        found = _holder(connection, database.dialect, workload_id)
    return found if found is not None and found.seconds_left >= 0 else None


def check_turn(connection: Connection, turn: Turn | None) -> None:
    """The fence of a write, within its transaction; no turn, no fence. Locks the turn until the write is over.

    :raises TurnLost: somebody else has taken it.
    """
    if turn is None:
        return
    statement = select(true()).select_from(DEPLOY_TURNS).where(*_fence(turn)).with_for_update()
    if connection.execute(statement).scalar() is None:
        raise TurnLost(turn.workload_id)


def _fence(turn: Turn) -> tuple[ColumnElement[bool], ...]:
    return (_T.workload_id == turn.workload_id, _T.owner == turn.owner, _T.token == turn.token)


def _holder(connection: Connection, dialect: str, workload_id: str) -> TurnHolder | None:
    of, left = DEPLOY_TURNS.c, _T.expires - store_clock(dialect)
    columns = (of.owner, of.token, of.doing, of.expires, left)
    row = connection.execute(select(*columns).where(_T.workload_id == workload_id, of.owner != "")).one_or_none()
    return None if row is None else TurnHolder(*row)
