"""`controller.plugins.registry`: plugins come in by entry points, and a broken one hurts nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import PluginUnknown
from controller.plugins.contract import Source, Trigger
from controller.plugins.registry import Registry, load_registry

STRANGER = """
import sys
class Good:
    kind = "good"
    def validate(self, config): pass
    def config_schema(self): return {}
    def reconcile(self, request): return None
class Watcher:
    kind = "watcher"
    def validate(self, config): pass
    def match(self, workload, event): return None
class Incomplete:
    kind = "incomplete"
class OtherName(Good):
    kind = "something else"
class Raises(Good):
    kind = "raises"
    def __init__(self): raise RuntimeError("no licence")
class Exits(Good):
    kind = "exits"
    def __init__(self): sys.exit(1)
class Mute(Exception):
    def __str__(self): raise RuntimeError("it has no words")
class RaisesMute(Good):
    kind = "mute"
    def __init__(self): raise Mute
class Demanding(Good):
    kind = "demanding"
    def __init__(self, argument): pass
"""

ENTRY_POINTS = """
[tallyd.sources]
good = stranger:Good
incomplete = stranger:Incomplete
other-name = stranger:OtherName
raises = stranger:Raises
exits = stranger:Exits
mute = stranger:RaisesMute
demanding = stranger:Demanding
lost = stranger:Lost
no-module = nowhere.at.all:Good
not-a-class = stranger:sys

[tallyd.triggers]
watcher = stranger:Watcher
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """With a stranger's package installed beside ours."""
    (tmp_path / "stranger.py").write_text(STRANGER)
    information = tmp_path / "stranger-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return load_registry()


def test_built_ins_come_by_the_public_entry_points() -> None:
    """S1: as a stranger's do."""
    registry = load_registry()
    assert set(registry.sources) == {"compose", "image", "report", "static"}
    assert set(registry.triggers) == {"git", "manual", "registry", "schedule"}
    assert registry.broken == {}
    assert isinstance(registry.source("report"), Source)
    assert isinstance(registry.trigger("manual"), Trigger)


def test_a_strangers_plugins_are_found(installed: Registry) -> None:
    """S1, R15: the good ones beside ours, whatever the others do."""
    assert set(installed.sources) == {"compose", "image", "report", "static", "good"}
    assert set(installed.triggers) == {"git", "manual", "registry", "schedule", "watcher"}
    assert installed.source("good").kind == "good"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("incomplete", "stranger:Incomplete: TypeError: it lacks a member of the Source protocol"),
        ("other-name", "its kind is 'something else', its entry point is named 'other-name'"),
        ("raises", "RuntimeError: no licence"),
        ("exits", "SystemExit: 1"),
        ("mute", "Mute, which cannot be printed"),
        ("demanding", "TypeError"),
        ("lost", "AttributeError"),
        ("no-module", "ModuleNotFoundError"),
        ("not-a-class", "TypeError"),
    ],
)
def test_a_broken_one_is_reported(installed: Registry, name: str, reason: str) -> None:
    """R15: by name and reason, when it is asked for and before."""
    assert reason in installed.broken[name]
    with pytest.raises(PluginUnknown, match=f"'{name}' is installed but cannot be loaded") as unknown:
        installed.source(name)
    assert reason in str(unknown.value)


def test_what_is_not_installed() -> None:
    """O1: what there is, and the nearest name."""
    registry = load_registry()
    with pytest.raises(
        PluginUnknown,
        match="source 'reports' is not installed; there are: compose, image, report, static; did you mean 'rep",
    ):
        registry.source("reports")
    with pytest.raises(
        PluginUnknown, match=r"trigger 'xyz' is not installed; there are: git, manual, registry, schedule$"
    ):
        registry.trigger("xyz")
    with pytest.raises(PluginUnknown, match="source ''"):
        Registry().source("")
