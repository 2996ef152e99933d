"""kill -9 in the middle of a pass, on both stores: the old state or the new one, never half (R19)."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store import hosts
from store.database import Database
from store.errors import PassSuperseded
from store.records import MISSING, ContainerRow, Host
from tests.builders import HOST, NOW, later
from tests.contract.ticks import rows_of, tick
from tests.contract.worlds import AFTER, BEFORE, MOMENT_AFTER
from tests.harness import wait_until

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "tests.contract.crasher")

State = tuple[dict[str, ContainerRow], Host]


@pytest.fixture
def die_at(database: Database, database_url: str) -> Iterator[Callable[[str], int]]:
    """Run a pass in a process of its own that dies at a moment; returns the signal, 0 for none."""
    tick(database, *BEFORE)
    crasher = subprocess.Popen(
        [*COMMAND, database_url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert crasher.stdin is not None
    assert crasher.stdout is not None

    def run(moment: str) -> int:
        print(moment, file=crasher.stdin, flush=True)
        return int(crasher.stdout.readline())  # type: ignore[union-attr]

    with crasher:
        yield run
        crasher.stdin.close()
    assert crasher.returncode == 0


def state_of(database: Database) -> State:
    """All that a pass may change, of one moment: a server may still be committing for a client that was killed."""
    while True:
        before = hosts.get_host(database, HOST)
        rows = rows_of(database)
        if hosts.get_host(database, HOST) == before:
            return rows, before


def test_a_kill_before_any_statement_leaves_the_old_state(database: Database, die_at: Callable[[str], int]) -> None:
    """R19, F: before every single statement of a pass, and at the last instant before its commit."""
    old = state_of(database)
    killed = 0
    for number in range(1, 100):
        if die_at(str(number)) == 0:
            break
        killed += 1
        assert state_of(database) == old
    assert killed >= 7, "too few moments: fence, updates, inserts, sweep and last-seen are statements of their own"
    rows, host = state_of(database)
    assert (host.pass_number, host.last_listed_at) == (2, later(MOMENT_AFTER))
    assert {row_id for row_id, row in rows.items() if row.state == MISSING} == {
        row.id for row in BEFORE if row.id.startswith("blog:gone")
    }


def test_a_kill_around_the_commit(database: Database, die_at: Callable[[str], int]) -> None:
    """R19: an instant before the commit leaves the old state, an instant after it the new one."""
    old = state_of(database)
    assert die_at("commit") == signal.SIGKILL
    assert state_of(database) == old
    assert die_at("end") == signal.SIGKILL
    rows, host = state_of(database)
    assert (host.pass_number, host.last_listed_at) == (2, later(MOMENT_AFTER))
    assert {row_id for row_id, row in rows.items() if row.state != MISSING} == {row.id for row in AFTER}


def test_kills_at_any_time_leave_whole_states(database: Database, database_url: str) -> None:
    """R19: passes that flip all rows back and forth, killed wherever they happen to be, also inside a commit."""
    alive = [{row.id for row in rows} for rows in (BEFORE, AFTER)]
    for _ in range(3):
        before = hosts.get_host(database, HOST).pass_number
        flipping = subprocess.Popen([*COMMAND, database_url, "--many"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        with flipping:
            assert flipping.stdout is not None
            assert flipping.stdout.readline() == "running\n"
            flipping.kill()
        rows, host = state_of(database)
        present = [row for row in rows.values() if row.state != MISSING]
        assert host.pass_number > before
        assert {row.id for row in present} in alive
        images = {row.image_ref for row in present if row.id.startswith("blog:web")}
        assert images == ({"busybox:2"} if {row.id for row in present} == alive[1] else {"busybox:local"})
        assert {row.last_seen_at for row in present} == {host.last_listed_at}
    wait_until(lambda: _went_on(database), what="a pass after the last kill")
    assert {row.id for row in rows_of(database).values() if row.state != MISSING} == alive[0]


def _went_on(database: Database) -> bool:
    try:
        tick(database, *BEFORE, at=NOW)
    except PassSuperseded:
        return False  # the server has just committed for the client that was killed
    return True
