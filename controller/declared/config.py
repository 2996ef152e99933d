"""The controller config: where it is kept, and how it is read, replaced and patched under compare-and-swap (G)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from controller.declared.config_file import ConfigFile
from controller.declared.merge_patch import merge_patch
from controller.errors import ConfigInvalid, LockTimeout, StoreError
from controller.settings import LIVE_SETTINGS, SECRET_SETTINGS, Settings
from controller.settings_sources import ConfigContent, LoadedSettings, check_config, load_settings, read_config
from store.config_generations import (
    LOCK_TIMEOUT_SECONDS,
    change_config_document,
    list_config_documents,
    read_config_document,
)
from store.database import Database, hide_password, open_database
from store.records import ConfigDocument

HIDDEN = "**********"
"""What stands for a secret in every answer (G10). Given back in a change, it means: as it is."""

_SHARED_FORBIDS = frozenset({"host", "database_url"})


class ConfigStore(Protocol):
    """Where one controller config is kept."""

    @property
    def backend(self) -> str:
        """``file``, ``postgresql`` or ``memory``."""

    @property
    def paths(self) -> Mapping[str, str]:
        """Files by what they are for, resolved; empty where there are none."""

    @property
    def watched(self) -> Sequence[Path]:
        """Files that a person may change; empty where there are none."""

    def read(self) -> ConfigDocument:
        """The current generation; generation 0 when nothing is stored (G2)."""

    def change(
        self,
        make: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        *,
        author: str,
        expected_generation: int | None = None,
    ) -> ConfigDocument:
        """Store what ``make`` makes of the current content as the next generation (G4)."""

    def history(self) -> list[ConfigDocument]:
        """The generations that are kept, newest first."""


@dataclass(frozen=True, slots=True)
class ConfigTable:
    """A config in the store's tables; all controllers of the store share it."""

    database: Database
    now: Callable[[], datetime]
    paths: Mapping[str, str] = field(default_factory=dict)
    watched: Sequence[Path] = ()
    inside: threading.Lock = field(default_factory=threading.Lock)

    @property
    def backend(self) -> str:
        """``postgresql``, or ``memory``."""
        return "memory" if self.database.dialect == "sqlite" else self.database.dialect

    def read(self) -> ConfigDocument:
        """See :class:`ConfigStore`."""
        return read_config_document(self.database)

    def change(
        self,
        make: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        *,
        author: str,
        expected_generation: int | None = None,
    ) -> ConfigDocument:
        """See :class:`ConfigStore`. A lock of this process first, then the store's own (G1).

        :raises ConfigInvalid: a setting that cannot be shared among hosts.
        """

        def checked(content: Mapping[str, Any]) -> Mapping[str, Any]:
            made = make(content)
            if own := sorted(_SHARED_FORBIDS & set(made)):
                raise ConfigInvalid(
                    f"{', '.join(own)} cannot stand in a config that all controllers of the store share; set it on "
                    "each host, by flag or variable"
                )
            return made

        if not self.inside.acquire(timeout=LOCK_TIMEOUT_SECONDS):
            raise LockTimeout("controller config: another change of this process goes on; nothing was stored")
        try:
            return change_config_document(
                self.database, checked, author=author, now=self.now(), expected_generation=expected_generation
            )
        finally:
            self.inside.release()

    def history(self) -> list[ConfigDocument]:
        """See :class:`ConfigStore`."""
        return list_config_documents(self.database)


def locate_config(settings: Settings, database: Database, now: Callable[[], datetime]) -> ConfigStore:
    """Where the config of these settings is: the file they name, else beside a SQLite file, else in the store."""
    if settings.config is not None:
        return ConfigFile(settings.config, now)
    if database.path is not None:
        return ConfigFile(database.path.with_name("config.yaml"), now)
    return ConfigTable(database, now)


def load_with_config(
    flags: Mapping[str, Any], environment: Mapping[str, str], now: Callable[[], datetime]
) -> LoadedSettings:
    """Settings from flags, environment, and the config wherever it is kept; nothing is made or written.

    A store that cannot be read counts as one that holds no config: whoever needs the store is told by it.

    :raises SettingInvalid: a setting is unknown or wrong, wherever it stands.
    :raises StoreUrlInvalid: the store cannot be used at all.
    """
    given = load_settings(flags, environment, ConfigContent()).settings
    database = open_database(given.database_url, make=False)
    try:
        store = locate_config(given, database, now)
        if isinstance(store, ConfigFile):
            return load_settings(flags, environment, read_config(store.path))
        return load_settings(flags, environment, content_of(store, store.read()))
    except StoreError:
        return load_settings(flags, environment, ConfigContent())
    finally:
        database.close()


def content_of(store: ConfigStore, document: ConfigDocument) -> ConfigContent:
    """A stored config as a source of settings."""
    place = store.paths.get("config") or f"the controller config in {store.backend}"
    return ConfigContent(document.content, place)


def set_config(
    store: ConfigStore, content: Mapping[str, Any], *, author: str, expected_generation: int | None = None
) -> ConfigDocument:
    """Replace the whole config.

    :raises ConfigInvalid: something in it is not allowed; nothing is stored.
    :raises GenerationConflict: the current generation is not the expected one (G3).
    :raises LockTimeout: somebody else held the lock for too long (G1).
    """
    return store.change(
        lambda current: _checked(_with_secrets(content, current)),
        author=author,
        expected_generation=expected_generation,
    )


def patch_config(
    store: ConfigStore, patch: Any, *, author: str, expected_generation: int | None = None
) -> ConfigDocument:
    """Apply a JSON Merge Patch (G5).

    :raises ConfigInvalid: the patch is no mapping, or the result is not allowed; nothing is stored.
    :raises GenerationConflict: the current generation is not the expected one (G3).
    :raises LockTimeout: somebody else held the lock for too long (G1).
    """
    if not isinstance(patch, Mapping):
        raise ConfigInvalid(f"a merge patch is a mapping of settings, not a {type(patch).__name__}")
    return store.change(
        lambda current: _checked(merge_patch(current, _with_secrets(patch, current))),
        author=author,
        expected_generation=expected_generation,
    )


def _checked(content: Mapping[str, Any]) -> Mapping[str, Any]:
    check_config(content)
    return content


def _with_secrets(content: Mapping[str, Any], current: Mapping[str, Any]) -> Mapping[str, Any]:
    if content.get("database_url") == hide_password(str(current.get("database_url"))):
        content = {**content, "database_url": current["database_url"]}
    hidden = [name for name in SECRET_SETTINGS & set(content) if content[name] == HIDDEN]
    if unknown := [name for name in hidden if name not in current]:
        raise ConfigInvalid(f"{unknown[0]} is {HIDDEN!r}, which means 'as it is', but none is stored")
    return {**content, **{name: current[name] for name in hidden}}


def shown_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """A content without its secrets."""
    return {name: value if value is None else _shown(name, value) for name, value in content.items()}


def _shown(name: str, value: Any) -> Any:
    if name in SECRET_SETTINGS:
        return HIDDEN
    return hide_password(str(value)) if name == "database_url" else value


def default_content() -> dict[str, Any]:
    """What holds for the live settings where nothing is stored (G2)."""
    fields = Settings.model_fields
    return {name: fields[name].default for name in fields if name in LIVE_SETTINGS}


def config_envelope(
    document: ConfigDocument, store: ConfigStore, host: str, instance_id: str, *, diagnostic: bool = False
) -> dict[str, Any]:
    """An answer that shows a config (G10). ``config`` is the content over the defaults, ``declared`` the content."""
    shown = shown_content(document.content)
    envelope: dict[str, Any] = {
        "config": default_content() | shown,
        "declared": shown,
        "generation": document.generation,
        "author": document.author,
        "at": document.at.isoformat() if document.at else None,
        "host": host,
        "instance_id": instance_id,
        "backend": store.backend,
    }
    if diagnostic:
        envelope["paths"] = dict(store.paths)
    return envelope
