"""Leases: one controller leads a host, whatever the clocks say, and a late write is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from controller.errors import LeaseHeld, LeaseLost, NotFound
from controller.loop.lease import Candidate, LeaseKeeper
from store import hosts
from store.database import Database, open_database
from store.index import apply_tick, read_snapshot
from store.leases import Lease, acquire_lease, find_leader, release_lease, renew_lease
from store.records import Change, Host, Listed
from store.schema import migrate
from tests.builders import ENGINE_ID, HOST, NOW, assignment
from tests.contract.ticks import rows_of
from tests.harness import wait_until

LONG, SHORT = 300.0, 0.2


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Both stores, one after the other, with a host that nobody leads."""
    with contextlib.closing(open_database(database_url)) as store:
        migrate(store)
        hosts.register(store, Host(HOST))
        yield store


def write(database: Database, lease: Lease, row_id: str) -> None:
    """A pass under this lease that inserts one row."""
    change = Change(inserted=(assignment(row_id, container_name=row_id),))
    apply_tick(database, read_snapshot(database, HOST), change, Listed(ENGINE_ID, NOW), lease)


def test_one_of_two_leads(database: Database) -> None:
    """R22: the lease is one's until it is given back; the other is told who leads and for how long."""
    mine = acquire_lease(database, HOST, "one", LONG, address="http://one", control_token="secret")
    with pytest.raises(LeaseHeld) as refusal:
        acquire_lease(database, HOST, "two", LONG)
    assert refusal.value.address == "http://one"
    assert 0 < refusal.value.seconds_left <= LONG
    assert find_leader(database, HOST).owner == "one"
    release_lease(database, mine)
    assert acquire_lease(database, HOST, "two", LONG).token == mine.token + 1
    assert find_leader(database, HOST).control_token == ""


def test_a_late_write_of_a_former_leader_is_refused(database: Database) -> None:
    """R22, F: who was stopped past its lease comes back with an old token; nothing of its write is stored."""
    former = acquire_lease(database, HOST, "one", SHORT)
    current = wait_until(lambda: _acquired(database, "two"), 5, "the first lease runs out by the store's clock")
    write(database, current, "shop:new")
    with pytest.raises(LeaseLost):
        write(database, former, "shop:late")
    with pytest.raises(LeaseLost):
        renew_lease(database, former)
    release_lease(database, former)  # does nothing
    assert set(rows_of(database)) == {"shop:new"}
    assert find_leader(database, HOST).owner == "two"


def _acquired(database: Database, owner: str) -> Lease | None:
    try:
        return acquire_lease(database, HOST, owner, LONG)
    except LeaseHeld:
        return None


def test_the_same_owner_with_an_older_token_is_refused_too(database: Database) -> None:
    """R22: the token fences, not the name."""
    first = acquire_lease(database, HOST, "one", LONG)
    second = acquire_lease(database, HOST, "one", LONG)
    assert second.token > first.token
    with pytest.raises(LeaseLost):
        write(database, first, "shop:late")
    write(database, second, "shop:web")


def test_a_pass_prolongs_the_lease(database: Database) -> None:
    """R22, P9: a committed pass needs no statement of its own to renew."""
    lease = acquire_lease(database, HOST, "one", LONG)
    renew_lease(database, Lease(HOST, "one", lease.token, 1.0))
    assert find_leader(database, HOST).seconds_left <= 1.0
    write(database, lease, "shop:web")
    assert find_leader(database, HOST).seconds_left > LONG - 60


def test_of_many_at_once_exactly_one_leads(database: Database) -> None:
    """R22: eight candidates at the same moment, one lease."""
    with ThreadPoolExecutor(8) as pool:
        acquired = list(pool.map(lambda number: _acquired(database, f"owner-{number}"), range(8)))
    assert sum(lease is not None for lease in acquired) == 1


def test_an_unknown_host_has_no_lease(database: Database) -> None:
    """R22: a host that no controller registered cannot be led."""
    with pytest.raises(NotFound):
        acquire_lease(database, "nowhere", "one", LONG)


def test_a_stored_lease_of_a_dead_process_is_taken_at_once(sqlite_url: str, database: Database) -> None:
    """R22, F: after a kill -9 nobody waits for the lease to run out, where the kernel knows that nobody lives."""
    acquire_lease(database, HOST, "killed", LONG)  # by a process that left no trace but this row
    with contextlib.closing(open_database(database.url.render_as_string(hide_password=False))) as mine:
        keeper = LeaseKeeper(mine, Candidate(HOST, "successor", LONG), monotonic=lambda: 0.0)
        if database.dialect == "sqlite":
            assert keeper.current().owner == "successor"
        else:
            with pytest.raises(LeaseHeld):
                keeper.current()
        keeper.stop()


def test_a_living_leader_is_not_robbed(database: Database) -> None:
    """R22: while its process lives, another keeper on the same machine stands by."""
    leading = LeaseKeeper(database, Candidate(HOST, "one", LONG), monotonic=lambda: 0.0)
    standby = LeaseKeeper(database, Candidate(HOST, "two", LONG), monotonic=lambda: 0.0)
    lease = leading.current()
    with pytest.raises(LeaseHeld):
        standby.current()
    assert not standby.held
    write(database, lease, "shop:web")
    leading.stop()
    assert standby.current().owner == "two"
    standby.stop()
