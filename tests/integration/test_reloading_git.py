"""A running controller whose manifests are in git, or whose config is in PostgreSQL; and how it stops in between."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.harness import wait_until
from tests.harness.git import Forge, GitHttpServer
from tests.integration.console import Console, Tallyd, settings_of
from tests.integration.reloading import SECONDS, Followed, following, manifest

NOWHERE = "unix:///nonexistent/docker.sock"


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """A remote with a manifest of one stack."""
    made = Forge(tmp_path / "forge")
    made.push({"m/a.yaml": manifest("blog")})
    return made


@pytest.fixture
def server(forge: Forge) -> Iterator[GitHttpServer]:
    """Its smart HTTP server."""
    with contextlib.closing(GitHttpServer(forge.folder)) as each:
        yield each


@contextlib.contextmanager
def from_clone(console: Console, folder: Path, clone: Path, **settings: str) -> Iterator[Followed]:
    """A controller that follows the manifests of a clone; what is gone from them is pruned."""
    more = {"TALLYD_MANIFESTS": str(clone / "m"), "TALLYD_MANIFESTS_PRUNE": "true", **settings}
    with following(console, folder, **more) as followed:
        yield followed


def test_the_webhook_end_to_end(console: Console, tmp_path: Path, forge: Forge) -> None:
    """H3, H4, H5, H7: every outcome on a real remote; what is pushed is in every read after the answer."""
    clone = forge.clone("tree")
    with from_clone(console, tmp_path, clone) as followed:
        assert followed.workloads.keys() == {"blog"}
        same = followed.hook()
        assert (same.status, same.json["changed"], same.json["outcome"]) == (200, False, "in-sync")
        for number in range(5):
            commit = forge.push({"m/a.yaml": manifest("blog", f"new-{number}")})
            moved = followed.hook(commit=commit)
            assert followed.workloads.keys() == {"blog", f"new-{number}"}
            assert (moved.status, moved.json["changed"], moved.json["outcome"]) == (200, True, "fast-forwarded")
            assert moved.json["commit"] == commit
        unknown = followed.hook(branch="lost")
        assert (unknown.status, "it has: main" in unknown.json["detail"]) == (400, True)
        forge.push({"m/a.yaml": manifest("other")}, branch="next")
        assert followed.hook(branch="next").json["changed"] is True
        assert followed.workloads.keys() == {"other"}
        mine = forge.commit({"m/mine.yaml": manifest("mine")}, cwd=clone)
        wait_until(lambda: followed.workloads.keys() == {"other", "mine"}, SECONDS, "what was written by hand")
        forge.push({"m/a.yaml": manifest("theirs")}, branch="next")
        diverged = followed.hook(branch="next").json
        assert (diverged["changed"], diverged["outcome"]) == (True, "diverged")
        assert forge.run("rev-parse", diverged["kept_on"], cwd=clone) == mine
        assert followed.workloads.keys() == {"theirs"}
        assert "Traceback" not in followed.controller.text


def test_a_commit_that_is_here_takes_neither_lock_nor_fetch(console: Console, tmp_path: Path, forge: Forge) -> None:
    """H4, H8: the remote is away and somebody holds the lock; any other commit falls through to the sync."""
    first = forge.run("rev-parse", "HEAD")
    clone = forge.clone("tree")
    with from_clone(console, tmp_path, clone) as followed:
        forge.path.rename(forge.folder / "away")
        before = followed.rebuilds
        with FileLock(clone / ".git" / "tallyd.lock"):
            for commit in (first, first[:7], first.upper()):
                here = followed.hook(commit=commit)
                assert (here.status, here.json["changed"], here.json["outcome"]) == (200, False, "already-here")
        failed = followed.hook(commit="f" * 40)
        assert (failed.status, failed.json["changed"], failed.json["outcome"]) == (200, False, "fetch-failed")
        assert failed.json["detail"]
        assert (followed.rebuilds, followed.workloads.keys()) == (before, {"blog"})


def test_a_push_that_cannot_be_built(console: Console, tmp_path: Path, forge: Forge) -> None:
    """H6: 500 with file and line, the previous state serves and readiness stays; told again until it is corrected."""
    with from_clone(console, tmp_path, forge.clone("tree")) as followed:
        broken = forge.push({"m/a.yaml": "workloads:\n- id: blog\n  kind: stuck\n"})
        for said in ({}, {"commit": broken}, {}):
            failed = followed.hook(**said)
            assert (failed.status, failed.json["error"]) == (500, "previous state serving")
            assert "a.yaml:3: workloads.0.kind" in failed.json["detail"]
            assert (followed.workloads.keys(), followed.controller.ready) == ({"blog"}, True)
        assert "a.yaml:3: " in followed.error
        forge.push({"m/a.yaml": manifest("blog", "mail")})
        assert followed.hook().json["changed"] is True
        assert (followed.workloads.keys(), followed.error) == ({"blog", "mail"}, "")


def test_the_remote_is_asked_by_itself(console: Console, tmp_path: Path, forge: Forge) -> None:
    """H5, O6: every so many seconds; a remote that goes away is logged once, and so is its return."""
    with from_clone(console, tmp_path, forge.clone("tree"), TALLYD_GIT_SYNC_SECONDS="0.1") as followed:
        forge.push({"m/a.yaml": manifest("blog", "mail")})
        wait_until(lambda: followed.workloads.keys() == {"blog", "mail"}, SECONDS, "the push is taken up")
        away = forge.path.rename(forge.folder / "away")
        failed = "git fetch failed, the tree is as it was"
        wait_until(lambda: followed.controller.logged(failed), SECONDS, "the failure is logged")
        followed.config.write_text("interval_seconds: 40\n")
        followed.becomes(40)
        away.rename(forge.path)
        wait_until(lambda: followed.controller.logged("git sync works again"), SECONDS, "its return is logged")
        assert len(followed.controller.logged(failed)) == 1


def test_stopping_while_a_remote_does_not_answer(
    console: Console, tmp_path: Path, forge: Forge, server: GitHttpServer
) -> None:
    """W9, R3: SIGTERM ends it in time; reads are answered meanwhile, and no git is left."""
    with (
        from_clone(console, tmp_path, forge.clone("tree", server.url())) as followed,
        server.hanging("info/refs"),
    ):
        calling = threading.Thread(target=_hook, args=(followed,))
        calling.start()
        assert server.reached.wait(SECONDS)
        assert (followed.workloads.keys(), followed.controller.ready) == ({"blog"}, True)
        assert followed.controller.terminate()[0] == 0
        assert followed.controller.lines[-1]["event"] == "stopped"
        wait_until(lambda: not calling.is_alive(), SECONDS, "the caller is told, or cut off")
        wait_until(lambda: not _gits_in(forge.folder), SECONDS, "no git is left")
        assert "Traceback" not in followed.controller.text


def _hook(followed: Followed) -> None:
    with contextlib.suppress(OSError):
        followed.hook()


def _gits_in(folder: Path) -> list[str]:
    """Processes of git that work below this folder."""
    found = []
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if each.name.isdecimal() and (each / "comm").read_text().startswith("git"):
                found += [str(at) for at in [(each / "cwd").readlink()] if at.is_relative_to(folder)]
    return found


def test_stopping_while_a_rebuild_hangs(console: Console, tmp_path: Path) -> None:
    """W9, R3: a config that is a pipe nobody writes to: reads go on, requests wait, and SIGTERM ends it in time."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "a.yaml").write_text(manifest("blog"))
    with following(console, tmp_path, TALLYD_MANIFESTS=str(folder)) as followed:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "pipe").rename(followed.config)
        writer = wait_until(lambda: _writer_of(followed.config), SECONDS, "it is being read")
        calling = threading.Thread(target=_put, args=(followed,))
        calling.start()
        assert (followed.workloads.keys(), followed.controller.ready) == ({"blog"}, True)
        assert followed.controller.terminate()[0] == 0
        assert followed.controller.lines[-1]["event"] == "stopped"
        wait_until(lambda: not calling.is_alive(), SECONDS, "the caller is told, or cut off")
        os.close(writer)
        assert "Traceback" not in followed.controller.text


def _put(followed: Followed) -> None:
    with contextlib.suppress(OSError):
        followed.put({"interval_seconds": 41})


def _writer_of(pipe: Path) -> int:
    """The end of a pipe that keeps its reader waiting; 0 where nobody reads it yet."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return 0


def test_a_config_in_postgresql_is_shared(console: Console, postgres_url: str, tmp_path: Path) -> None:
    """G4, W7: what is set on one host is in force on another one, and a generation that is malformed is refused."""
    url = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    other = Tallyd(console, tmp_path, settings_of(NOWHERE, url, tmp_path, TALLYD_HOST="other"))
    other.ok("config", "set", "interval_seconds=0.3")
    with following(console, tmp_path, url) as followed:
        shown = followed.controller.get("/api/v1/config").json
        assert (shown["backend"], shown["generation"], followed.interval_seconds) == ("postgresql", 1, 0.3)
        other.ok("config", "set", "interval_seconds=0.4")
        followed.becomes(0.4)
        wait_until(lambda: followed.status["generation"] == 2, SECONDS, "the generation")
        assert followed.controller.metric("tallyd_config_generation") == 2
        done = other("config", "set", "host=third").expect(2)
        assert "host cannot stand in a config that all controllers of the store share" in done.stderr
        answer = followed.put({"interval_seconds": 0.5}, **{"If-Match": '"2"'})
        assert (answer.status, answer.json["reload"]["result"], followed.interval_seconds) == (200, "activated", 0.5)
        assert other.ok("config", "show", "-o", "json").json["generation"] == 3
        other("config", "patch", "{}", "--expect-generation", "2").expect(1)
        assert followed.controller.terminate()[0] == 0
