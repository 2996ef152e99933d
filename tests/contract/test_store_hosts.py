"""Hosts and times on both stores."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import exc, insert, select

from store import hosts
from store.database import Database
from store.errors import Conflict, NotFound
from store.index import list_containers, read_snapshot
from store.leases import acquire_lease
from store.records import Change, Host
from store.revisions import count_revisions
from store.rows import as_values
from store.tables import CONTAINERS, HOSTS, REVISIONS
from store.workloads import apply_workloads
from tests.builders import ENGINE_ID, HOST, NOW, assignment, workload
from tests.contract.ticks import LEASE_SECONDS, SUITE, tick, write_pass


def test_registering_again_changes_what_the_controller_knows(database: Database) -> None:
    """R18, R21, R22: endpoint and interval follow the controller; the rest stays, the leader's address too.

    A standby registers too, and must not name itself as the leader.
    """
    tick(database)
    acquire_lease(database, HOST, SUITE, LEASE_SECONDS, address="http://leader")
    hosts.register(database, Host(HOST, endpoint="unix:///new", address="http://standby", interval_seconds=7.5))
    hosts.register(database, Host(HOST, endpoint="unix:///other", interval_seconds=1.0), single_pass=True)
    assert hosts.get_host(database, HOST) == Host(
        HOST,
        engine_id=ENGINE_ID,
        endpoint="unix:///new",
        address="http://leader",
        interval_seconds=7.5,
        pass_number=1,
        last_listed_at=NOW,
    )


def test_hosts_are_listed_by_id(database: Database) -> None:
    """O3: one store for many hosts."""
    for name in ("zeta", "alpha"):
        hosts.register(database, Host(name))
    assert [host.id for host in hosts.list_hosts(database)] == ["alpha", HOST, "zeta"]


def test_an_unknown_host_is_an_error(database: Database) -> None:
    """R18: nothing is accepted for a host that no controller has registered."""
    with pytest.raises(NotFound, match="'nobody'"):
        hosts.get_host(database, "nobody")
    with pytest.raises(NotFound, match="'nobody'"):
        hosts.accept_engine(database, "nobody", "X")


def test_times_are_aware_utc(database: Database) -> None:
    """House: a time of any zone comes back as the same moment in UTC; a naive one is refused."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    write_pass(database, read_snapshot(database, HOST), Change(), ENGINE_ID, elsewhere)
    stored = hosts.get_host(database, HOST).last_listed_at
    assert stored == NOW
    assert stored is not None
    assert stored.utcoffset() == timedelta(0)
    with pytest.raises(exc.StatementError, match="naive"), database.engine.begin() as connection:
        connection.execute(insert(HOSTS).values(id="x", last_listed_at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    """R19: what is raised inside a writing transaction undoes all of it."""
    with pytest.raises(ZeroDivisionError), database.writing() as connection:
        connection.execute(HOSTS.update().values(endpoint="half"))
        raise ZeroDivisionError
    assert hosts.get_host(database, HOST).endpoint == ""


def test_foreign_keys_are_kept(database: Database) -> None:
    """Issue 2, pitfall 13: SQLite does so only when it is told; a row of a host that nobody knows is refused."""
    with pytest.raises(Conflict), database.writing() as connection:
        row = as_values(assignment()) | {"host": "nobody", "last_seen_at": NOW}
        connection.execute(insert(CONTAINERS).values(row))
    assert list_containers(database) == []


def test_a_reading_transaction_is_one_view(database: Database) -> None:
    """R11: all that one pass reads is of one moment, whatever is committed meanwhile."""
    count = select(HOSTS.c.id)
    with database.reading() as connection:
        before = connection.execute(count).scalars().all()
        hosts.register(database, Host("meanwhile"))
        assert connection.execute(count).scalars().all() == before
    assert len(hosts.list_hosts(database)) == len(before) + 1


def test_revisions_are_counted_by_state(database: Database) -> None:
    """O5: the metric `tallyd_revisions{state}`."""
    assert count_revisions(database) == {}
    apply_workloads(database, [workload("shop")], NOW)
    states = ["ready", "ready", "failed"]
    rows = [
        {
            "id": f"r{number}",
            "workload_id": "shop",
            "sequence": number,
            "image_digest": "sha256:1",
            "config_digest": "sha256:2",
            "state": state,
            "created_at": NOW,
            "updated_at": NOW,
        }
        for number, state in enumerate(states)
    ]
    with database.writing() as connection:
        connection.execute(insert(REVISIONS), rows)
    assert count_revisions(database) == {"ready": 2, "failed": 1}
