"""The schema of both stores: made once, equal to what the code expects, and safe to make from many places."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel

from store.activity_tables import EVENTS
from store.database import Database, open_database
from store.errors import SchemaOutdated
from store.index import read_snapshot
from store.revisions import get_revision
from store.rollout_records import Revision, RevisionState, SplitEntry, TrafficSplit
from store.schema import check_schema, current_revision, head_revision, migrate
from store.splits import get_split
from tests.builders import HOST, NOW

ROOT = Path(__file__).parents[2]
MIGRATE = "import sys; from store.schema import migrate; from store.database import open_database as o; "
MIGRATE += "print(migrate(o(sys.argv[1])))"
OLD_ROLLOUT = (
    "INSERT INTO workloads (id, name, kind, ref, source_kind, source_config, trigger_kind, trigger_config, "
    "public_faces, generation, updated_at) VALUES ('shop', 'Shop', 'project', 'r', '', '{}', '', '{}', '[]', 1, :at)",
    "INSERT INTO revisions (id, workload_id, sequence, image_digest, config_digest, state, created_at, updated_at) "
    "VALUES ('shop-1', 'shop', 1, 'sha256:1', 'sha256:2', 'ready', :at, :at)",
    "INSERT INTO traffic_splits (workload_id, generation, entries, idempotency_key, updated_at) "
    """VALUES ('shop', 3, '[{"revision_id": "shop-1", "weight": 10000}]', 'k', :at)""",
)


def test_migrating_twice_does_it_once(database_url: str) -> None:
    """O3: the second migration finds nothing to do."""
    with contextlib.closing(open_database(database_url)) as store:
        assert current_revision(store) is None
        assert migrate(store)
        assert current_revision(store) == head_revision()
        assert not migrate(store)
        check_schema(store)


def test_five_threads_migrate_at_once(database_url: str) -> None:
    """O3: of five that start together exactly one migrates, and the others go on with what it made."""

    def start(_number: int) -> bool:
        with contextlib.closing(open_database(database_url)) as store:
            changed = migrate(store)
            check_schema(store)
            return changed

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(start, range(5))) == [False, False, False, False, True]


def test_five_processes_migrate_at_once(database_url: str) -> None:
    """O3, F: the same with processes, which share no lock of Python's."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, database_url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    answers = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * 5, answers
    assert sorted(out.strip() for out, _ in answers) == ["False", "False", "False", "False", "True"]


def test_migrations_make_what_the_tables_declare(database: Database) -> None:
    """R12: Alembic finds no difference between the migrated store and the declared tables."""
    assert EVENTS.metadata is SQLModel.metadata
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_rollouts_of_an_older_schema_are_kept(database_url: str) -> None:
    """O3: revisions and splits from before 0004 are read with nothing in the new columns."""
    with contextlib.closing(open_database(database_url)) as store:
        _upgrade_to(store, "0003")
        with store.writing() as connection:
            for statement in OLD_ROLLOUT:
                connection.execute(text(statement), {"at": NOW.isoformat()})
        assert migrate(store)
        assert get_revision(store, "shop", "shop-1") == Revision(
            "shop-1", "shop", 1, "", "sha256:1", "sha256:2", state=RevisionState.READY, created_at=NOW, updated_at=NOW
        )
        assert get_split(store, "shop") == TrafficSplit(
            "shop", (SplitEntry("shop-1", 10_000),), 3, "k", updated_at=NOW
        )


def _upgrade_to(store: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "store" / "migrations"))
    config.set_main_option("path_separator", "os")
    with store.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_an_unmigrated_store_says_what_to_do(database_url: str) -> None:
    """O3: a store without a schema is an error with the command that makes it."""
    with contextlib.closing(open_database(database_url)) as store:
        with pytest.raises(SchemaOutdated, match="tallyd migrate"):
            check_schema(store)
        with pytest.raises(SchemaOutdated, match="tallyd migrate"):
            read_snapshot(store, HOST)


def test_a_schema_from_the_future_is_left_alone(database: Database) -> None:
    """O3: an older tallyd neither works on nor migrates what a newer one made."""
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaOutdated, match="newer tallyd"):
        migrate(database)
    with pytest.raises(SchemaOutdated, match="9999"):
        check_schema(database)
    assert current_revision(database) == "9999"
