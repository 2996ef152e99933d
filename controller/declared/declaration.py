"""All that the operator declared, read at one moment: settings from the controller config, and manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from controller.declared.config import ConfigStore, content_of
from controller.declared.manifests import read_manifests
from controller.plugins.registry import Registry
from controller.settings import LIVE_SETTINGS, Settings
from controller.settings_sources import LoadedSettings, load_settings
from store.records import ConfigDocument, Workload


@dataclass(frozen=True, slots=True)
class Declared:
    """What a new activation is built from.

    ``settings`` holds what a running process can take up: the others are as they were at its start, and those that
    the config changed are named in ``restart_needed``. ``workloads`` is ``None`` where no manifests are configured.
    """

    settings: Settings
    document: ConfigDocument
    workloads: tuple[Workload, ...] | None = None
    restart_needed: tuple[str, ...] = ()

    @property
    def generation(self) -> int:
        """Of the controller config."""
        return self.document.generation

    def equals(self, other: Declared | None) -> bool:
        """Whether both say the same; a new generation of the same content does (W7)."""
        if other is None:
            return False
        return (self.settings, self.workloads, self.restart_needed) == (
            other.settings,
            other.workloads,
            other.restart_needed,
        )


class Declaration:
    """Reads what is declared, again and again, for one process that was started with certain settings."""

    def __init__(
        self,
        store: ConfigStore,
        started_with: Settings,
        flags: Mapping[str, Any],
        environment: Mapping[str, str],
        registry: Registry,
    ) -> None:
        self.store = store
        self._started_with = started_with
        self._flags = flags
        self._environment = environment
        self._registry = registry

    def read(self, before: Declared | None) -> Declared:
        """Read everything anew.

        :param before: what is in force; it stays so where the config file was deleted (W7).
        :raises ConfigInvalid: the controller config is malformed or not allowed.
        :raises ManifestInvalid: a manifest is.
        :raises LockTimeout: the config is being changed for too long.
        :raises StoreError: the store that holds the config cannot be read.
        """
        document = self.store.read()
        if document.absent and before is not None:
            document = replace(before.document, generation=document.generation)
        loaded = load_settings(self._flags, self._environment, content_of(self.store, document))
        settings = _live(self._started_with, loaded.settings)
        workloads = None
        if settings.manifests is not None:
            workloads = tuple(read_manifests([settings.manifests], self._registry, settings.label_prefix))
        return Declared(settings, document, workloads, _restart_needed(self._started_with, loaded))


def _live(started_with: Settings, asked: Settings) -> Settings:
    return started_with.model_copy(update={name: getattr(asked, name) for name in LIVE_SETTINGS})


def _restart_needed(started_with: Settings, asked: LoadedSettings) -> tuple[str, ...]:
    others = (name for name in Settings.model_fields if name not in LIVE_SETTINGS)
    return tuple(name for name in others if getattr(asked.settings, name) != getattr(started_with, name))


Reader = Callable[[Declared | None], Declared]
"""Reads what is declared, given what is in force."""
