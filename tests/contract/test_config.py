"""The controller config under compare-and-swap, where it is a file and where it is a table: one contract (G1–G6)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.declared.config import (
    HIDDEN,
    ConfigStore,
    ConfigTable,
    config_envelope,
    locate_config,
    patch_config,
    set_config,
)
from controller.declared.config_file import ConfigFile
from controller.errors import ConfigInvalid, GenerationConflict
from controller.settings import Settings
from store.database import open_database
from store.records import ConfigDocument
from store.schema import migrate
from tests.builders import HOST, NOW

SECRET = "s3cret-" * 6


@pytest.fixture(params=["file", "memory", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ConfigStore]:
    """All places of a config, one after the other."""
    if request.param == "file":
        yield ConfigFile(tmp_path / "etc" / "config.yaml", lambda: NOW)
        return
    url = "sqlite://" if request.param == "memory" else str(request.getfixturevalue("postgres_url"))
    database = open_database(url)
    migrate(database)
    yield ConfigTable(database, lambda: NOW)
    database.close()


def test_nothing_stored_is_generation_0_and_defaults(store: ConfigStore) -> None:
    """G2: and the first change may expect 0."""
    assert store.read() == ConfigDocument()
    envelope = config_envelope(store.read(), store, HOST, "i1")
    assert (envelope["generation"], envelope["declared"]) == (0, {})
    assert envelope["config"]["interval_seconds"] == 30.0
    assert set_config(store, {"interval_seconds": 7}, author="ann", expected_generation=0).generation == 1


def test_a_change_returns_what_everybody_reads(store: ConfigStore) -> None:
    """G4: content and generation together; G6: identical content still increments."""
    changed = set_config(store, {"interval_seconds": 7, "log_level": "debug"}, author="ann")
    assert store.read() == changed
    assert (changed.generation, changed.author, changed.at) == (1, "ann", NOW)
    again = set_config(store, {"interval_seconds": 7, "log_level": "debug"}, author="bob")
    assert (again.generation, store.read().generation, store.read().author) == (2, 2, "bob")


def test_an_unexpected_generation_changes_nothing(store: ConfigStore) -> None:
    """G3: both numbers are told; without an expectation a change is unconditional."""
    set_config(store, {"interval_seconds": 7}, author="ann")
    for expected in (0, 2):
        with pytest.raises(GenerationConflict, match=f"expected generation {expected}, current is 1") as conflict:
            set_config(store, {"interval_seconds": 8}, author="bob", expected_generation=expected)
        assert (conflict.value.expected, conflict.value.current) == (expected, 1)
        with pytest.raises(GenerationConflict):
            patch_config(store, {"interval_seconds": 8}, author="bob", expected_generation=expected)
    assert store.read().content == {"interval_seconds": 7}
    assert set_config(store, {}, author="bob").generation == 2


def test_a_patch_merges(store: ConfigStore) -> None:
    """G5: RFC 7396; a null takes a setting back to its default."""
    set_config(store, {"interval_seconds": 7, "log_level": "debug"}, author="ann")
    patched = patch_config(store, {"interval_seconds": None, "label_prefix": "acme"}, author="bob")
    assert dict(patched.content) == {"log_level": "debug", "label_prefix": "acme"}
    assert store.read() == patched


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"interval_secs": 5}, "interval_secs is not a setting; did you mean interval_seconds"),
        ({"log_level": "loud"}, "log_level is 'loud': Input should be 'debug', 'info', 'warning' or 'error'"),
        ({"config": "x.yaml"}, "config is not a setting"),
        ({"api_token": HIDDEN}, "means 'as it is', but none is stored"),
        (["interval_seconds"], "a merge patch is a mapping of settings, not a list"),
    ],
)
def test_an_invalid_result_stores_nothing(store: ConfigStore, patch: object, said: str) -> None:
    """G5: the generation stays."""
    before = set_config(store, {"interval_seconds": 7}, author="ann")
    with pytest.raises(ConfigInvalid) as refused:
        patch_config(store, patch, author="bob")
    assert said in str(refused.value)
    assert store.read() == before


def test_one_of_many_writers_wins(store: ConfigStore) -> None:
    """G9: with the same expectation, exactly one; all others get a conflict."""
    start, won, lost = threading.Barrier(8), [], []

    def write(number: int) -> None:
        start.wait()
        try:
            won.append(set_config(store, {"interval_seconds": number}, author="w", expected_generation=0))
        except GenerationConflict as conflict:
            lost.append(conflict.current)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert (len(won), lost) == (1, [1] * 7)
    assert store.read() == won[0]


def test_history_is_bounded_and_newest_first(store: ConfigStore) -> None:
    """What was, by whom; the oldest generations go."""
    assert store.history() == []
    for number in range(1, 24):
        set_config(store, {"interval_seconds": number}, author=f"w{number}")
    history = store.history()
    assert [each.generation for each in history] == list(range(23, 3, -1))
    assert (history[-1].content, history[-1].author) == ({"interval_seconds": 4}, "w4")


def test_secrets_are_never_shown_and_survive_what_was_shown(store: ConfigStore) -> None:
    """G10: the public form has no paths, and neither form has a secret; a shown config can be stored again."""
    set_config(store, {"api_token": SECRET, "interval_seconds": 7}, author="ann")
    public = config_envelope(store.read(), store, HOST, "i1")
    diagnostic = config_envelope(store.read(), store, HOST, "i1", diagnostic=True)
    assert SECRET not in str(public) + str(diagnostic)
    assert (public["host"], public["instance_id"], public["backend"]) == (HOST, "i1", store.backend)
    assert "paths" not in public
    assert diagnostic["paths"] == dict(store.paths)
    assert set_config(store, public["declared"], author="bob").content["api_token"] == SECRET
    assert patch_config(store, {"api_token": HIDDEN, "interval_seconds": 8}, author="bob").content == {
        "api_token": SECRET,
        "interval_seconds": 8,
    }


def test_where_a_config_is_kept(tmp_path: Path) -> None:
    """The named file, else beside the SQLite file, else in the store."""
    beside = open_database(f"sqlite:///{tmp_path / 'tallyd.db'}")
    inside = open_database("sqlite://")
    named = locate_config(Settings(config=tmp_path / "x.yaml"), inside, lambda: NOW)
    assert named.paths["config"] == str(tmp_path / "x.yaml")
    assert locate_config(Settings(), beside, lambda: NOW).paths["config"] == str(tmp_path / "config.yaml")
    assert locate_config(Settings(), inside, lambda: NOW).backend == "memory"


def test_what_is_shared_names_no_host(postgres_url: str) -> None:
    """A config of a store of many hosts cannot hold what belongs to one."""
    database = open_database(postgres_url)
    migrate(database)
    with pytest.raises(ConfigInvalid, match="host cannot stand in a config that all controllers"):
        set_config(ConfigTable(database, lambda: NOW), {"host": "h1"}, author="ann")
    database.close()
