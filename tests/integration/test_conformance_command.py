"""`tallyd conformance`: the kit on a stranger's source, found by its entry points, as people and scripts see it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from controller.rollout.conformance import CHECKS
from tests.docs.markdown import ROOT
from tests.integration.console import CALL_SECONDS, Console, Tallyd, settings_of

MODULE = """
import sys
from tests.contract.folders import FolderDeployer, FolderSubject, Folders

class Source(FolderDeployer):
    def __init__(self): super().__init__(Folders(None))
    def validate(self, config): pass
    def config_schema(self): return {"type": "object"}
    def reconcile(self, request): return None

class Lonely(Source):
    kind = "lonely"

class Forgetful(FolderDeployer):
    def archive(self, deployment, revision_id):
        if revision_id.startswith("no-such"): raise KeyError(revision_id)
        return super().archive(deployment, revision_id)

def forgetful(): return FolderSubject(Forgetful)

def hostile():
    raise OSError("no\\x1b[31m engine")

nothing = None
"""
SOURCES = {"folders": "Source", "lonely": "Lonely"}
SUBJECTS = {
    "folders": "stranger:FolderSubject",
    "forgetful": "stranger:forgetful",
    "hostile": "stranger:hostile",
    "nothing": "stranger:nothing",
    "lost": "stranger:Lost",
    "exits": "stranger_exit:Subject",
}


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


@pytest.fixture
def tallyd(console: Console, sqlite_url: str, tmp_path: Path) -> Tallyd:
    """`tallyd` where there is no engine and no store, with a stranger's package installed."""
    site = tmp_path / "site"
    described = site / "stranger-1.0.dist-info"
    described.mkdir(parents=True)
    (site / "stranger.py").write_text(MODULE)
    (site / "stranger_exit.py").write_text("raise SystemExit(9)\n")
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    lines = ["[tallyd.sources]", *(f"{kind} = stranger:{name}" for kind, name in SOURCES.items())]
    lines += ["[tallyd.conformance]", *(f"{kind} = {place}" for kind, place in SUBJECTS.items())]
    (described / "entry_points.txt").write_text("\n".join(lines) + "\n")
    path = f"{site}{os.pathsep}{ROOT}"
    return Tallyd(console, tmp_path, settings_of("unix:///nonexistent.sock", sqlite_url, tmp_path, PYTHONPATH=path))


def test_a_source_that_keeps_the_contract(tallyd: Tallyd) -> None:
    """D9, O1: a line for each check, the sum, exit 0; nothing on stderr where that is no terminal."""
    done = tallyd.ok("conformance", "folders")
    assert done.stderr == ""
    heading, *rows, _, total = done.stdout.splitlines()
    assert heading.split() == ["VERDICT", "PROMISE", "CHECK", "SECONDS", "MEANS"]
    assert [row.split()[:3] for row in rows] == [["passed", each.promise, each.name] for each in CHECKS]
    assert total == f"{len(CHECKS)} passed"


def test_a_source_that_does_not(tallyd: Tallyd) -> None:
    """D9, O1: what was seen and what to do, under the table; exit 1; the same as data."""
    done = tallyd("conformance", "forgetful").expect(1)
    assert "failed unknown-revision-archive (D2)" in done.stdout
    assert "archive of a revision that does not exist raised KeyError: 'no-such-revision'" in done.stdout
    assert "  → begin archive with revision_of(deployment, revision_id)" in done.stdout
    assert done.stdout.endswith(f"\n{len(CHECKS) - 2} passed, 1 failed, 1 blocked\n")
    chosen = ("--check", "unknown-revision-archive", "--check", "members")
    report = tallyd("conformance", "forgetful", *chosen, "-o", "json").expect(1).json
    assert (report["kind"], report["conformant"], report["passed"], report["failed"]) == ("forgetful", False, 1, 1)
    assert [each["check"] for each in report["checks"]] == ["members", "unknown-revision-archive"]
    assert report["checks"][1]["remedy"] == "begin archive with revision_of(deployment, revision_id)"
    told = yaml.safe_load(tallyd("conformance", "forgetful", *chosen, "-o", "yaml").expect(1).stdout)
    assert told["checks"][0]["verdict"] == "passed"


def test_a_provider_that_is_not_there(tallyd: Tallyd) -> None:
    """D9, O6: the subject cannot be made: nothing was checked, so it is no success; no control character gets out."""
    done = tallyd("conformance", "hostile", "--check", "members").expect(1)
    assert "the subject cannot be made: OSError: no\\x1b[31m engine" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("report", "source 'report' only reports: it has none of a deployer's verbs"),
        ("lonely", "its package ships no subject for the conformance kit"),
        ("lonely", '[project.entry-points."tallyd.conformance"]\nlonely = "your_module:YourSubject"'),
        ("folder", "source 'folder' is not installed; there are: compose, folders, image, lonely, report, static"),
        ("lost", "'lost', stranger:Lost, cannot be loaded: AttributeError"),
        ("exits", "'exits', stranger_exit:Subject, cannot be loaded: SystemExit: 9"),
        ("nothing", "'nothing', stranger:nothing, is no class and no function"),
    ],
)
def test_where_there_is_nothing_to_check(tallyd: Tallyd, kind: str, told: str) -> None:
    """D9, O1: what is missing and what to add, on stderr; exit 1."""
    done = tallyd("conformance", kind).expect(1)
    assert done.stdout == ""
    assert told in done.stderr


def test_what_makes_no_sense(tallyd: Tallyd) -> None:
    """O1: a check that does not exist, and a time that is none, are usage errors."""
    unknown = tallyd("conformance", "folders", "--check", "tempo").expect(2)
    assert "there is no check 'tempo'; there are: members" in unknown.stderr
    tallyd("conformance", "folders", "--deadline-seconds", "0").expect(2)
    tallyd("conformance").expect(2)


def test_progress_is_shown_on_a_terminal(console: Console, tallyd: Tallyd, tmp_path: Path) -> None:
    """O1: which check is being made, on stderr, and only while it is; the data on stdout is the same."""
    ours, theirs = pty.openpty()
    environment: Mapping[str, str] = {**tallyd.environment, "TERM": "xterm", "COLUMNS": "120"}
    with (tmp_path / "out").open("w+b") as out, Path(os.devnull).open("rb") as null:
        arguments = ("conformance", "folders", "--check", "drain-waits", "-o", "json")
        process = console.start(arguments, environment, tmp_path, (null.fileno(), out.fileno(), theirs))
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b""))
        assert process.wait(CALL_SECONDS) == 0
        out.seek(0)
        assert b'"conformant": true' in out.read()
    os.close(ours)
    assert re.search(r"1 of 1: drain returns when sessions in flight ended", shown.decode())


def _read(terminal: int) -> bytes:
    """What comes from a terminal; nothing when its other end is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
