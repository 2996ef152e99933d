"""`controller.declared.declaration`: what a running process reads anew, and what it keeps from its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.declared.config import ConfigTable, set_config
from controller.declared.config_file import ConfigFile
from controller.declared.declaration import Declaration, Declared
from controller.errors import ConfigInvalid, ManifestInvalid, SettingInvalid, StoreUnavailable
from controller.plugins.registry import load_registry
from controller.settings_sources import load_settings
from store.database import open_database
from store.schema import migrate
from tests.builders import HOST, NOW

REGISTRY = load_registry()
Declare = Callable[..., Declaration]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the config is."""
    return tmp_path / "config.yaml"


@pytest.fixture
def declare(path: Path) -> Declare:
    """A process that was started with these flags and variables, and with the config as it stands."""

    def started(environment: Mapping[str, str] | None = None, **flags: Any) -> Declaration:
        given = {"host": HOST, "config": path, **flags}
        settings = load_settings(given, environment or {}).settings
        return Declaration(ConfigFile(path, lambda: NOW), settings, given, environment or {}, REGISTRY)

    return started


def test_flags_then_environment_then_config_then_defaults(path: Path, declare: Declare) -> None:
    """O2: on every reload, as at the start."""
    path.write_text("interval_seconds: 11\nplugin_workers: 12\nlog_level: error\n")
    declaration = declare({"TALLYD_INTERVAL_SECONDS": "21", "TALLYD_PLUGIN_WORKERS": "22"}, interval_seconds=31.0)
    read = declaration.read(None)
    settings = read.settings
    assert (settings.interval_seconds, settings.plugin_workers, settings.log_level) == (31, 22, "error")
    assert settings.plugin_deadline_seconds == 20
    path.write_text("interval_seconds: 41\nplugin_workers: 42\nplugin_deadline_seconds: 43\n")
    again = declaration.read(read)
    assert (again.settings.interval_seconds, again.settings.plugin_workers) == (31, 22)
    assert (again.settings.plugin_deadline_seconds, again.settings.log_level) == (43, "info")
    assert (read.generation, again.generation) == (1, 2)


def test_a_variable_that_names_a_file_is_read_anew(path: Path, declare: Declare, tmp_path: Path) -> None:
    """O2: and one that cannot be read is an error that names it, not a default."""
    (tmp_path / "level").write_text("error\n")
    declaration = declare({"TALLYD_LOG_LEVEL_FILE": str(tmp_path / "level")})
    assert declaration.read(None).settings.log_level == "error"
    (tmp_path / "level").write_text("debug\n")
    assert declaration.read(None).settings.log_level == "debug"
    (tmp_path / "level").unlink()
    with pytest.raises(SettingInvalid, match="TALLYD_LOG_LEVEL_FILE"):
        declaration.read(None)


def test_what_takes_a_restart_stays_as_it_was_and_is_named(path: Path, declare: Declare) -> None:
    """W7, O2: until it is changed back."""
    declaration = declare()
    first = declaration.read(None)
    assert first.restart_needed == ()
    path.write_text("listen: 127.0.0.1:1\ngit_sync_seconds: 5\ninterval_seconds: 6\n")
    second = declaration.read(first)
    assert second.restart_needed == ("git_sync_seconds", "listen")
    assert (second.settings.listen, second.settings.git_sync_seconds) == ("127.0.0.1:9477", 0)
    assert second.settings.interval_seconds == 6
    assert not second.equals(first)
    path.write_text("interval_seconds: 6\n")
    assert declaration.read(second).restart_needed == ()


def test_a_flag_hides_a_change_that_would_take_a_restart(path: Path, declare: Declare) -> None:
    """O2: what the config says of it does not matter then."""
    declaration = declare(listen="127.0.0.1:2")
    path.write_text("listen: 127.0.0.1:1\n")
    assert declaration.read(None).restart_needed == ()


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\n\ninterval_seconds:   11\nlog_level: 'error'\n",
        "log_level: error\ninterval_seconds: 11\n",
        '{"interval_seconds": 11, "log_level": "error"}',
        "interval_seconds: 11.0\nlog_level: error\n",
    ],
)
def test_equal_is_what_says_the_same(path: Path, declare: Declare, text: str) -> None:
    """W7: white space, comments, order and form do not reload; neither does a generation alone."""
    path.write_text("interval_seconds: 11\nlog_level: error\n")
    declaration = declare()
    first = declaration.read(None)
    path.write_text(text)
    again = declaration.read(first)
    assert again.equals(first)
    set_config(declaration.store, {"interval_seconds": 11, "log_level": "error"}, author="ann")
    more = declaration.read(first)
    assert (more.equals(first), more.generation > first.generation) == (True, True)
    path.write_text("interval_seconds: 12\nlog_level: error\n")
    assert not declaration.read(first).equals(first)
    assert not first.equals(None)


def test_an_absent_config_is_defaults_at_first_and_keeps_the_previous_later(path: Path, declare: Declare) -> None:
    """W7: a file that somebody deletes, or moves away to write it anew, changes nothing."""
    declaration = declare()
    defaults = declaration.read(None)
    assert (defaults.generation, defaults.settings.interval_seconds) == (0, 30)
    path.write_text("interval_seconds: 11\n")
    first = declaration.read(defaults)
    path.unlink()
    kept = declaration.read(first)
    assert (kept.equals(first), kept.generation, kept.settings.interval_seconds) == (True, 1, 11)
    assert declaration.read(kept).equals(first), "again and again"
    path.write_text("interval_seconds: 12\n")
    assert declaration.read(kept).settings.interval_seconds == 12
    path.write_text("")
    assert declaration.read(kept).settings.interval_seconds == 30, "an empty file says something"


def test_a_process_that_starts_without_the_config_that_was_there(path: Path, declare: Declare) -> None:
    """W7: at boot absent is defaults, whatever the generations beside it remember."""
    path.write_text("interval_seconds: 11\n")
    declare().read(None)
    path.unlink()
    assert declare().read(None).settings.interval_seconds == 30


def test_manifests_are_read_with_the_settings(path: Path, declare: Declare, tmp_path: Path) -> None:
    """W7: as one whole: by the label prefix that the same config says; without manifests there are none to keep."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "a.yaml").write_text("workloads: [{id: blog, kind: stack}]\n")
    declaration = declare(manifests=folder)
    first = declaration.read(None)
    assert [each.ref for each in _workloads(first)] == ["tallyd-blog"]
    path.write_text("label_prefix: acme\n")
    second = declaration.read(first)
    assert [each.ref for each in _workloads(second)] == ["acme-blog"]
    assert declare().read(None).workloads is None
    (folder / "a.yaml").write_text("workloads: [{id: blog, kind: stuck}]\n")
    with pytest.raises(ManifestInvalid, match=r"a\.yaml:1: .*stack"):
        declaration.read(second)


def _workloads(read: Declared) -> tuple[Any, ...]:
    assert read.workloads is not None
    return read.workloads


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("interval_seconds: 11\nlog_level: loud\n", r"config\.yaml:2: log_level is 'loud'.*'debug'"),
        ("intervall_seconds: 11\n", r"config\.yaml:1: intervall_seconds .* did you mean interval_seconds\?"),
        ("a: [\n", r"config\.yaml:2: not YAML"),
        ("- a\n", "must be a mapping"),
        ("config: other.yaml\n", "config is not a setting"),
    ],
)
def test_a_malformed_config_is_told_with_its_place(path: Path, declare: Declare, text: str, said: str) -> None:
    """G2, W5, O2: and is read again as soon as it is well."""
    declaration = declare()
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=said):
        declaration.read(None)
    path.write_text("interval_seconds: 11\n")
    assert declaration.read(None).settings.interval_seconds == 11


def test_a_config_in_the_store(declare: Declare) -> None:
    """O2, G: its place is named in words, and a store that cannot be read is told as such."""
    database = open_database("sqlite://")
    migrate(database)
    settings = load_settings({"host": HOST}, {}).settings
    declaration = Declaration(ConfigTable(database, lambda: NOW), settings, {"host": HOST}, {}, REGISTRY)
    assert declaration.read(None).generation == 0
    set_config(declaration.store, {"interval_seconds": 11}, author="ann")
    read = declaration.read(None)
    assert (read.generation, read.settings.interval_seconds) == (1, 11)
    database.close()


def test_a_store_that_is_away(tmp_path: Path) -> None:
    """W7: the reload fails, to be tried again; it is never taken for a config that is empty."""
    database = open_database(f"sqlite:///{tmp_path / 'tallyd.db'}")
    (tmp_path / "tallyd.db").write_bytes(b"not a database " * 100)
    settings = load_settings({"host": HOST}, {}).settings
    declaration = Declaration(ConfigTable(database, lambda: NOW), settings, {"host": HOST}, {}, REGISTRY)
    with pytest.raises(StoreUnavailable):
        declaration.read(None)
    database.close()
