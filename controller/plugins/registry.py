"""Finding plugins by their entry points. One that cannot be loaded is reported and hurts nobody else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from controller.errors import PluginUnknown
from controller.plugins.contract import EngineTools, Equippable, Source, Trigger
from controller.wording import words_of

SOURCES_GROUP = "tallyd.sources"
TRIGGERS_GROUP = "tallyd.triggers"

P = TypeVar("P", Source, Trigger)


@dataclass(frozen=True, slots=True)
class Registry:
    """The plugins at hand, by kind. ``broken`` maps the name of each entry point that failed to the reason."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)

    def source(self, kind: str) -> Source:
        """The source of this kind.

        :raises PluginUnknown: there is none; names those that are.
        """
        return _find(self.sources, kind, "source", self.broken)

    def trigger(self, kind: str) -> Trigger:
        """The trigger of this kind.

        :raises PluginUnknown: there is none; names those that are.
        """
        return _find(self.triggers, kind, "trigger", self.broken)


def load_registry() -> Registry:
    """Load every installed plugin, built-in ones included."""
    broken: dict[str, str] = {}
    sources = _load(SOURCES_GROUP, Source, broken)  # type: ignore[type-abstract]  # python/mypy#4717
    triggers = _load(TRIGGERS_GROUP, Trigger, broken)  # type: ignore[type-abstract]  # as above
    return Registry(sources, triggers, broken)


def equip_sources(registry: Registry, tools: EngineTools) -> None:
    """Give each source that acts its tools."""
    for source in registry.sources.values():
        if isinstance(source, Equippable):
            source.equip(tools)


def _load(group: str, protocol: type[P], broken: dict[str, str]) -> dict[str, P]:
    found: dict[str, P] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        try:
            plugin = _make(entry, protocol)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a stranger's code ends here; the reason is shown
            broken[entry.name] = f"{entry.value}: {words_of(error)}"
        else:
            found[plugin.kind] = plugin
    return found


def _make(entry: EntryPoint, protocol: type[P]) -> P:
    plugin = entry.load()()
    if not isinstance(plugin, protocol):
        raise TypeError(f"it lacks a member of the {protocol.__name__} protocol")
    if plugin.kind != entry.name:
        raise ValueError(f"its kind is {plugin.kind!r}, its entry point is named {entry.name!r}")
    return plugin


def _find(plugins: Mapping[str, P], kind: str, noun: str, broken: Mapping[str, str]) -> P:
    if kind in plugins:
        return plugins[kind]
    if kind in broken:
        raise PluginUnknown(f"{noun} {kind!r} is installed but cannot be loaded: {broken[kind]}")
    near = difflib.get_close_matches(kind, plugins, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise PluginUnknown(f"{noun} {kind!r} is not installed; there are: {', '.join(sorted(plugins))}{hint}")
