"""Faults, each injected for real under a running `tallyd`: no false `missing`, never half a state, and it heals."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from store.records import MISSING
from tests.fakes import FakeDocker, Fault
from tests.harness import Engine, PrivateEngine, PrivatePostgres, World, wait_until
from tests.integration.console import Console, Tallyd, settings_of
from tests.integration.passes import contents

STOP_WITHIN_SECONDS = 5.0
LISTING_FAILED = 'tallyd_ticks_total{outcome="listing_failed"}'
STORE_FAILED = 'tallyd_ticks_total{outcome="store_failed"}'
REFUSED = 'tallyd_ticks_total{outcome="engine_refused"}'
COMPLETE = 'tallyd_ticks_total{outcome="complete"}'
LISTED_AT = "tallyd_last_complete_listing_timestamp_seconds"


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


def tallyd_on(console: Console, endpoint: str, database_url: str, folder: Path, **settings: str) -> Tallyd:
    """`tallyd` in a hurry, on this engine and store."""
    hasty = {"TALLYD_INTERVAL_SECONDS": "0.2"}
    return Tallyd(console, folder, settings_of(endpoint, database_url, folder, **hasty | settings))


def states(tallyd: Tallyd) -> dict[str, str]:
    return {row["id"]: row["state"] for row in tallyd.ps()}


class Tap:
    """A Unix socket in front of an engine's, which calls `in_the_middle` while a listing is half-way through.

    A listing that is longer than what the sockets buffer cannot have left the engine by then.
    """

    def __init__(self, engine_socket: Path, socket_path: Path) -> None:
        self.endpoint = f"unix://{socket_path}"
        self.in_the_middle: Callable[[], None] = lambda: None
        self._engine_socket = engine_socket
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(socket_path))
        self._listener.listen(16)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Break all connections and end the threads."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)
            assert not thread.is_alive()
        for each in (self._listener, *self._open):
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._open += [client, upstream]
                upstream.connect(str(self._engine_socket))
                for source, target in ((client, upstream), (upstream, client)):
                    self._threads.append(threading.Thread(target=self._copy, args=(source, target), daemon=True))
                    self._threads[-1].start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16 * 1024):
                target.sendall(data)
                if b'"Labels":' in data:
                    act, self.in_the_middle = self.in_the_middle, lambda: None
                    act()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def test_an_engine_that_freezes_in_the_middle_of_a_listing(
    console: Console,
    own_engine: PrivateEngine,
    own_world: World,
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    """R3, R6, R21, O4, F: nothing goes missing, readiness is red, `ps` says stale; it stops, and it heals."""
    label = "tallyd.workload.id"
    made = own_world.many(200, lambda number: {label: "app", "tallyd.role": f"r{number}", "padding": "x" * 5000})
    rows = dict.fromkeys((f"app:r{number}" for number in range(200)), "created")
    with contextlib.closing(Tap(own_engine.socket_path, tmp_path / "tap.sock")) as tap:
        tallyd = tallyd_on(
            console,
            tap.endpoint,
            sqlite_url,
            tmp_path,
            TALLYD_INTERVAL_SECONDS="1",
            TALLYD_ENGINE_TIMEOUT_SECONDS="2",
        )
        tallyd.apply({"id": "app", "kind": "stack"})
        frozen = threading.Event()

        def freeze() -> None:
            own_engine.pause()
            frozen.set()

        with tallyd.running() as controller:
            controller.wait_ready()
            assert {row["id"]: row["state"] for row in controller.rows().values()} == rows
            tap.in_the_middle = freeze
            assert frozen.wait(20)
            listed_at = controller.metric(LISTED_AT)
            controller.wait_for_metric(LISTING_FAILED, 1)
            reasons = controller.wait_not_ready()
            assert "3 intervals" in reasons[0]
            assert "no complete answer from the engine" in " ".join(reasons)
            assert controller.healthy
            assert controller.metric('tallyd_docker_requests_total{operation="list",result="EngineTimeout"}') >= 1
            assert controller.metric(LISTED_AT) == listed_at
            shown = tallyd.ps()
            assert {row["id"]: row["state"] for row in shown} == rows
            assert {row["stale"] for row in shown} == {True}
            assert {row["stale"] for row in controller.rows().values()} == {True}
            assert "stale: host testhost: last complete listing" in tallyd.ok("ps").stdout

            patient = tallyd.with_settings(TALLYD_HOST="another", TALLYD_ENGINE_TIMEOUT_SECONDS="60")
            with patient.running() as second:
                wait_until(second.serving, 30, "the second controller serves")
                assert second.wait_not_ready()[0] == "no complete listing yet"
                code, seconds = second.terminate(timeout_seconds=STOP_WITHIN_SECONDS)
                print(f"stopped within {seconds:.2f} s of SIGTERM, with a frozen engine")
                assert code == 0
                assert second.logged("stopped")

            own_engine.resume()
            own_world.rm(made[7])
            controller.wait_ready()
            wait_until(lambda: controller.rows()["app:r7"]["state"] == MISSING, 20, "the removed one is missing")
            assert {row["id"]: row["state"] for row in tallyd.ps()} == rows | {"app:r7": MISSING}
            assert controller.logged("tick failed")[-1]["outcome"] == "listing_failed"
            assert controller.logged("tick works again")


def test_a_killed_engine_comes_back_as_itself_and_another_one_is_refused(
    console: Console,
    engine: Engine,
    world: World,
    own_engine: PrivateEngine,
    own_world: World,
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    """R18, F: the same data behind a new socket heals; another engine writes nothing until it is accepted."""
    shared_socket = engine.endpoint.removeprefix("unix://")
    path = tmp_path / "docker.sock"
    path.symlink_to(own_engine.socket_path)
    tallyd = tallyd_on(console, f"unix://{path}", sqlite_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    labels = {f"{world.prefix}.workload.id": "app"}
    tallyd.apply({"id": "app", "kind": "stack"})
    old = own_world.run(labels=labels | {f"{world.prefix}.role": "old"})
    new = world.create(labels=labels | {f"{world.prefix}.role": "new"})
    with tallyd.running() as controller:
        controller.wait_ready()
        bound = tallyd.ok("host", "list", "--output", "json").json[0]["engine_id"]
        inode = own_engine.socket_path.stat().st_ino
        os.link(own_engine.socket_path, own_engine.directory / "kept.sock")  # so that its inode is not used again
        own_engine.kill()
        controller.wait_for_metric(LISTING_FAILED, 1)
        assert states(tallyd) == {"app:old": "running"}
        controller.wait_not_ready()
        own_engine.start()
        assert own_engine.socket_path.stat().st_ino != inode
        controller.wait_ready()
        wait_until(lambda: states(tallyd) == {"app:old": "stopped"}, 20, "seen stopped")
        assert controller.metric(REFUSED) == 0

        own_engine.kill()
        path.unlink()
        path.symlink_to(shared_socket)
        controller.wait_for_metric(REFUSED, 1)
        before = contents(sqlite_url)
        reasons = controller.wait_not_ready()
        assert any("tallyd host accept" in reason for reason in reasons)
        controller.wait_for_metric(REFUSED, controller.metric(REFUSED) + 2)
        for command in ("tick", "plan"):
            refused = tallyd(command)
            assert (refused.exit_code, refused.stdout) == (1, "")
            assert bound in refused.stderr
            assert "tallyd host accept" in refused.stderr
        assert contents(sqlite_url) == before
        assert controller.healthy

        accepted = tallyd.ok("host", "accept").stdout
        assert bound in accepted
        controller.wait_ready()
        wait_until(lambda: len(states(tallyd)) == 2, 20, "the container of the new engine is indexed")
        assert states(tallyd) == {"app:old": MISSING, "app:new": "created"}
        assert {row["container_id"] for row in tallyd.ps()} == {old, new}


MALFORMED: dict[str, Fault | bytes] = {
    **{str(fault): fault for fault in Fault},
    "an object": b"{}",
    "a text": b'"[]"',
    "two values": b"[] []",
    "an unfinished list": b"[{}",
    "NaN": b"[NaN]",
}


def test_a_malformed_listing_writes_nothing_and_is_counted(console: Console, sqlite_url: str, tmp_path: Path) -> None:
    """R6, F: null, HTML, 500, truncated, slow drip, silence: nothing swept, nothing written, every one counted."""
    with FakeDocker() as fake:
        tallyd = tallyd_on(console, fake.endpoint, sqlite_url, tmp_path, TALLYD_ENGINE_TIMEOUT_SECONDS="1")
        tallyd.apply({"id": "app", "kind": "stack"})
        fake.world.many(40, lambda number: {"tallyd.workload.id": "app", "tallyd.role": f"r{number}"}, running=True)
        with tallyd.running() as controller:
            controller.wait_ready()
            before = {row["id"]: row["state"] for row in controller.rows().values()}
            assert before == dict.fromkeys((f"app:r{number}" for number in range(40)), "running")
            for name, fault in MALFORMED.items():
                with fake.answering("/containers/json", fault):
                    fake.drop_connections()
                    failed = controller.metric(LISTING_FAILED)
                    controller.wait_for_metric(LISTING_FAILED, failed + 1)
                    held = contents(sqlite_url)
                    controller.wait_for_metric(LISTING_FAILED, failed + 2)
                    assert contents(sqlite_url) == held, name
                    assert {row["id"]: row["state"] for row in held["containers"]} == before, name
            for path in ("/info", "*"):
                with fake.answering(path, Fault.ERROR):
                    fake.drop_connections()
                    controller.wait_for_metric(LISTING_FAILED, controller.metric(LISTING_FAILED) + 2)
            controller.wait_ready()

            with fake.answering("/containers/json", b'[null, {"Id": 7}, {"Id": ""}]'):
                controller.wait_for_metric("tallyd_containers_unreadable", 3)
                controller.wait_for_metric(COMPLETE, controller.metric(COMPLETE) + 2)
                assert states(tallyd) == before
            with fake.answering("/containers/json", b"[]"):
                wait_until(lambda: set(states(tallyd).values()) == {MISSING}, 20, "an empty list is an answer")
            wait_until(lambda: states(tallyd) == before, 20, "all recovered")
            assert controller.healthy


def test_a_tick_that_is_killed_leaves_the_old_state_or_the_new_one(
    console: Console, engine: Engine, world: World, database_url: str, tmp_path: Path
) -> None:
    """R19, F: kill -9 at any moment of `tick`; and the next one is right."""
    tallyd = tallyd_on(console, engine.endpoint, database_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd.apply({"id": "app", "kind": "stack"})
    tallyd.tick()
    label = f"{world.prefix}.workload.id"
    chance = random.Random(19)
    old: set[str] = set()
    made: list[str] = []
    killed = 0
    for _ in range(8):
        for container in made[:3]:
            world.rm(container)
        made = made[3:] + world.many(6, {label: "app"})
        with tallyd.started("tick", "--output", "json") as pending:
            with contextlib.suppress(subprocess.TimeoutExpired):
                pending.process.wait(chance.uniform(0.02, 0.25))
            pending.kill()
            killed += pending().exit_code < 0
        check_integrity(database_url)
        rows = settled_contents(database_url)["containers"]
        present = {row["container_id"] for row in rows if row["state"] != MISSING}
        assert present in (old, set(made))
        old = present
    assert killed > 0
    tallyd.tick()
    assert {row["container_id"] for row in tallyd.ps() if row["state"] != MISSING} == set(made)
    assert tallyd("plan").exit_code == 0


def test_a_controller_that_is_killed_during_churn(
    console: Console, engine: Engine, world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R19, F: kill -9 of `run` at random moments while containers come and go; the next tick is right."""
    settings = {"TALLYD_LABEL_PREFIX": world.prefix, "TALLYD_INTERVAL_SECONDS": "0.02"}
    tallyd = tallyd_on(console, engine.endpoint, sqlite_url, tmp_path, **settings)
    tallyd.apply({"id": "app", "kind": "stack"})
    label = f"{world.prefix}.workload.id"
    chance = random.Random(5)
    kept: list[str] = []
    for _ in range(3):
        with tallyd.running() as controller:
            wait_until(lambda: controller.logged("engine connected"), 30, "it has listed")
            for container in kept:
                world.rm(container)
            kept = world.many(chance.randint(3, 20), {label: "app"})
            with contextlib.suppress(subprocess.TimeoutExpired):
                controller.process.wait(chance.uniform(0.0, 0.1))
            controller.kill()
        check_integrity(sqlite_url)
    report = tallyd.tick()
    assert report["outcome"] == "complete"
    assert {row["container_id"] for row in tallyd.ps() if row["state"] != MISSING} == set(kept)


def settled_contents(database_url: str) -> dict[str, list[dict[str, Any]]]:
    """What is in the store once PostgreSQL has ended what its dead clients had asked for."""
    if database_url.startswith("postgresql"):
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with contextlib.closing(psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True)) as connection:
            wait_until(lambda: connection.execute(others).fetchone() == (0,), 20, "no other client is connected")
    return contents(database_url)


def check_integrity(database_url: str) -> None:
    """SQLite's own check of a file whose writer was killed."""
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_two_ticks_race(console: Console, engine: Engine, world: World, database_url: str, tmp_path: Path) -> None:
    """R4, R19: passes of two processes are serialised by the store; each change is written once."""
    tallyd = tallyd_on(console, engine.endpoint, database_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd.apply({"id": "app", "kind": "stack"})
    tallyd.tick()
    made: list[str] = []
    for _ in range(2):
        gone, made = made, world.many(20, {f"{world.prefix}.workload.id": "app"})
        for container in gone:
            world.rm(container)
        before = pass_number(database_url)
        with tallyd.started("tick", "-o", "json") as first, tallyd.started("tick", "-o", "json") as second:
            reports = [each().expect(0).json for each in (first, second)]
        assert [report["outcome"] for report in reports] == ["complete", "complete"]
        assert sum(report["inserted"] for report in reports) == 20
        assert sum(report["missing"] for report in reports) == len(gone)
        assert pass_number(database_url) == before + 2
    tallyd.tick()
    assert {row["container_id"] for row in tallyd.ps() if row["state"] != MISSING} == set(made)


def pass_number(database_url: str) -> int:
    """The pass number of the only host."""
    (row,) = contents(database_url)["hosts"]
    number: int = row["pass_number"]
    return number


def test_a_store_that_another_process_has_locked(
    console: Console, engine: Engine, world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """F, O4: counted and readable meanwhile; readiness red, liveness green; it heals when the lock is gone."""
    tallyd = tallyd_on(console, engine.endpoint, sqlite_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd.apply({"id": "web", "kind": "site"})
    container = world.create(labels={f"{world.prefix}.workload.id": "web"})
    with tallyd.running() as controller:
        controller.wait_ready()
        path = sqlite_url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            world.rm(container)
            with tallyd.with_settings(TALLYD_HOST="another").started("tick") as pending:
                assert states(tallyd) == {"web:site": "created"}
                refused = pending().expect(1)
            assert "another process held the write lock for over 5 s" in refused.stderr
            controller.wait_for_metric(STORE_FAILED, 1)
            assert any("locked" in reason for reason in controller.wait_not_ready())
            assert controller.healthy
            assert controller.rows()["web:site"]["state"] == "created"
            other.execute("ROLLBACK")
        controller.wait_ready()
        wait_until(lambda: states(tallyd) == {"web:site": MISSING}, 20, "the removed one is missing")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(console: Console, engine: Engine, world: World, small_disk: Path, tmp_path: Path) -> None:
    """R19, F: what cannot be written is counted and written later; the old state stays whole and readable."""
    url = f"sqlite:///{small_disk / 'tallyd.db'}"
    tallyd = tallyd_on(console, engine.endpoint, url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd.apply({"id": "app", "kind": "stack"})
    label = f"{world.prefix}.workload.id"
    first = world.create(labels={label: "app"})
    with tallyd.running() as controller:
        controller.wait_ready()
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                continue
        made = world.many(60, {label: "app"})
        controller.wait_for_metric(STORE_FAILED, 2)
        assert any("full" in reason for reason in controller.wait_not_ready())
        assert controller.healthy
        assert {row["container_id"] for row in controller.rows().values()} == {first}
        filler.unlink()
        controller.wait_ready()
        wait_until(lambda: len(controller.rows()) == 61, 20, "all are written")
        assert {row["container_id"] for row in controller.rows().values()} == {first, *made}
        assert len(controller.logged("tick works again")) == 1
    check_integrity(url)
    filler.write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * 4096))
    full = tallyd("tick")
    assert full.expect(1).stderr.startswith("tallyd: store ")
    filler.unlink()
    assert tallyd.tick()["unchanged"] == 61


def flush(postgres_url: str) -> None:
    """Bring to the disk what is committed; the tests' server does not do that by itself."""
    with contextlib.closing(psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True)) as connection:
        connection.execute("CHECKPOINT")


def test_postgresql_goes_and_comes_back(
    console: Console, engine: Engine, world: World, postgres: PrivatePostgres, postgres_url: str, tmp_path: Path
) -> None:
    """F, O3, O4: counted, readiness red, liveness green, reads answer 503; it heals without a restart."""
    tallyd = tallyd_on(console, engine.endpoint, postgres_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd.apply({"id": "web", "kind": "site"})
    container = world.create(labels={f"{world.prefix}.workload.id": "web"})
    with tallyd.running() as controller:
        controller.wait_ready()
        flush(postgres_url)
        try:
            postgres.halt()
            world.rm(container)
            controller.wait_for_metric(STORE_FAILED, 2)
            controller.wait_not_ready()
            assert controller.healthy
            assert controller.get("/api/v1/containers").status == 503
            assert tallyd("ps").expect(1).stderr.startswith("tallyd: store postgresql")
        finally:
            postgres.start()
        controller.wait_ready()
        wait_until(lambda: controller.rows()["web:site"]["state"] == MISSING, 20, "the removed one is missing")
        assert len(controller.logged("tick failed")) == 1
        assert controller.terminate()[0] == 0
