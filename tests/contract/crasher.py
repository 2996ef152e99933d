"""Run as a program: forks a child per line of its input, and each child is killed in the middle of a pass.

``python -m tests.contract.crasher URL``; a line is a moment: the number of the statement before which the child
gets SIGKILL, ``commit`` for the last instant before the commit, ``end`` for right after it, or ``never``.
Answers each line with the child's end: a signal's number, or 0. The parent connects to nothing, so that
no connection is shared.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from sqlalchemy import event

from store.database import Database, open_database
from store.index import read_snapshot
from tests.builders import ENGINE_ID, HOST, later
from tests.contract.ticks import change_for, lead, write_pass
from tests.contract.worlds import AFTER, FILLER, MOMENT_AFTER


def one_pass(url: str, moment: str) -> None:
    """Bring the index from the old state to the new one, and die at the given moment."""
    database = open_database(url)
    seen = read_snapshot(database, HOST)
    change = change_for(seen, AFTER)
    lead(database)
    _die_at(database, moment)
    write_pass(database, seen, change, ENGINE_ID, later(MOMENT_AFTER))
    if moment == "end":
        _die()


def many_passes(url: str) -> None:
    """Bring the index from one state to the other and back, as fast as it goes, until somebody kills us."""
    database = open_database(url)
    for number in itertools.count():
        seen = read_snapshot(database, HOST)
        wanted = AFTER if number % 2 else FILLER
        write_pass(database, seen, change_for(seen, wanted), ENGINE_ID, later(number))
        if number == 1:
            print("running", flush=True)


def _die_at(database: Database, moment: str) -> None:
    numbers = itertools.count(1)

    def count(*_: Any) -> None:
        if str(next(numbers)) == moment:
            _die()

    event.listen(database.engine, "before_cursor_execute", count)
    if moment == "commit":
        event.listen(database.engine, "commit", lambda _connection: _die())


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def main(url: str) -> None:
    """Serve moments until the input ends."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            one_pass(url, line.strip())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    if sys.argv[2:] == ["--many"]:
        many_passes(sys.argv[1])
    else:
        main(sys.argv[1])
