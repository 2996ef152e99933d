"""A store that cannot be used, on both kinds: one readable sentence, and no exception of the driver's."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from store import hosts
from store.database import Database, open_database
from store.errors import Conflict, SchemaOutdated, StoreError, StoreUnavailable, StoreUrlInvalid
from store.index import list_containers, read_snapshot
from store.records import Change
from store.schema import migrate
from store.workloads import get_workload
from tests.builders import ENGINE_ID, HOST, NOW
from tests.contract.ticks import rows_of, tick, write_pass
from tests.contract.worlds import BEFORE
from tests.harness import PrivatePostgres


def complaint(url: str) -> str:
    """What using the store at a URL complains about; one line, of the right kind."""
    with contextlib.closing(open_database(url)) as store, pytest.raises(StoreUnavailable) as failed:
        read_snapshot(store, HOST)
    said = str(failed.value)
    assert "\n" not in said
    assert "Traceback" not in said
    assert "sqlalche.me" not in said
    return said


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """F: the file is named, and what to do about it."""
    path = tmp_path / "tallyd.db"
    path.write_text("this is no database at all, " * 100)
    said = complaint(f"sqlite:///{path}")
    assert str(path) in said
    assert "damaged" in said
    assert path.read_text().startswith("this is no database")


def test_a_damaged_database(sqlite_url: str, tmp_path: Path) -> None:
    """F: pages overwritten in the middle of the file."""
    with contextlib.closing(open_database(sqlite_url)) as store:
        migrate(store)
        hosts.register(store, hosts.Host(HOST))
        tick(store, *BEFORE)
    path = tmp_path / "tallyd.db"
    content = bytearray(path.read_bytes())
    content[100 : len(content)] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)
    assert "damaged" in complaint(sqlite_url)


@pytest.fixture
def as_somebody() -> Iterator[Callable[[], None]]:
    """Drop root's rights until the end of the test, where the tests have them."""

    def drop() -> None:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 0)

    yield drop
    if os.getresuid()[2] == 0:
        os.setresuid(0, 0, 0)


def test_a_folder_that_cannot_be_written(as_somebody: Callable[[], None]) -> None:
    """F, O1: the folder and the user are named."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        folder.chmod(0o555)
        as_somebody()
        said = complaint(f"sqlite:///{folder}/tallyd.db")
        assert f"the folder {folder} is not writable for uid {os.getuid()}" in said
        with pytest.raises(StoreUrlInvalid, match=f"cannot make {folder}/below"):
            open_database(f"sqlite:///{folder}/below/tallyd.db")
    finally:
        if os.getresuid()[2] == 0:
            os.setresuid(0, 0, 0)
        shutil.rmtree(folder)


def test_a_folder_that_is_made(tmp_path: Path) -> None:
    """O3: SQLite needs no preparation, not even its folder."""
    with contextlib.closing(open_database(f"sqlite:///{tmp_path}/a/b/tallyd.db")) as store:
        assert migrate(store)
        assert store.path == tmp_path / "a/b/tallyd.db"


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """F: PostgreSQL down; the password is hidden."""
    said = complaint(f"postgresql://bob:topsecret@/tallyd?host={tmp_path}")
    assert "topsecret" not in said
    assert "bob" in said
    assert str(tmp_path) in said


@pytest.mark.parametrize(("user", "name"), [("nobody-of-that-name", "postgres"), ("tallyd", "nowhere")])
def test_a_role_or_database_that_is_not_there(postgres: PrivatePostgres, user: str, name: str) -> None:
    """O3: no reason to migrate; what is missing is named as the server names it."""
    said = complaint(f"postgresql://{user}@/{name}?host={postgres.directory}")
    assert "does not exist" in said
    assert ("nobody-of-that-name" if name == "postgres" else "nowhere") in said
    assert "migrate" not in said


def test_a_server_that_goes_and_comes_back(own_postgres: PrivatePostgres) -> None:
    """F: an outage is an error for as long as it lasts; afterwards the same process goes on."""
    url = own_postgres.fresh_database()
    with contextlib.closing(open_database(url)) as store:
        migrate(store)
        hosts.register(store, hosts.Host(HOST))
        tick(store, *BEFORE)
        own_postgres.halt()
        for attempt in (
            lambda: read_snapshot(store, HOST),
            lambda: write_pass(store, read_snapshot(store, HOST), Change(), ENGINE_ID, NOW),
        ):
            with pytest.raises(StoreUnavailable):
                attempt()
        own_postgres.start()
        tick(store, *BEFORE)
        assert len(rows_of(store)) == len(BEFORE)


def test_a_store_that_somebody_else_has_locked(database: Database) -> None:
    """F: a lock is waited for, then it is an error that says so; nothing is written."""
    tick(database, *BEFORE)
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with database.writing() as connection:
            connection.execute(text("UPDATE hosts SET endpoint = 'locked'"))
            locked.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert locked.wait(10)
        seen = read_snapshot(database, HOST)
        with pytest.raises(StoreUnavailable, match="lock"):
            write_pass(database, seen, Change(), ENGINE_ID, NOW)
    finally:
        release.set()
        holder.join()
    assert hosts.get_host(database, HOST).pass_number == 1
    write_pass(database, seen, Change(), ENGINE_ID, NOW)
    assert hosts.get_host(database, HOST).pass_number == 2


def test_text_that_the_store_cannot_hold_is_no_outage(database: Database) -> None:
    """O4: a question with a NUL byte or half a surrogate pair finds nothing or is refused as what it is."""
    for hostile in ("NUL \0", "surrogate \ud800"):
        for ask in (
            lambda text_=hostile: list_containers(database, workload_id=text_),
            lambda text_=hostile: get_workload(database, text_),
        ):
            try:
                assert ask() == []
            except StoreError as error:
                assert not isinstance(error, StoreUnavailable | SchemaOutdated), error


def test_constraint_violations_are_conflicts(database: Database) -> None:
    """House: the driver's exceptions leave the store as ours."""
    with pytest.raises(Conflict), database.writing() as connection:
        connection.execute(text("INSERT INTO hosts SELECT * FROM hosts"))


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "", "http://example"])
def test_a_url_that_is_no_store(url: str) -> None:
    """O2, O3: what is allowed is told."""
    with pytest.raises(StoreUrlInvalid, match=r"allowed: sqlite.*postgresql"):
        open_database(url)


def test_a_url_as_others_write_it(tmp_path: Path) -> None:
    """O3: `postgres://` is what many platforms hand out."""
    with contextlib.closing(open_database(f"postgres://bob@/tallyd?host={tmp_path}")) as store:
        assert store.dialect == "postgresql"
        assert store.path is None
