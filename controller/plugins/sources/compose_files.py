"""From a declaration to a document: Compose reads the files and says what they mean, or what is wrong with them."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from controller.plugins.contract import Compose, ComposeRun, EngineError, PluginConfigInvalid, VerbFailed
from controller.plugins.sources.compose_document import (
    MOST_FILES,
    PROJECT_MARK,
    digest_of,
    document_from,
    followed_files,
    mark_of,
    mounts_of,
    resolving_values,
)
from controller.plugins.sources.compose_options import NO_DIRECTORY, ComposeOptions
from controller.plugins.sources.compose_project import told

CONFIG_SECONDS = 60.0
_MOST_KEPT = 512


def directory_of(options: ComposeOptions, manifests: Path | None) -> str:
    """The project's folder, absolute; :data:`NO_DIRECTORY` where it has none.

    :raises PluginConfigInvalid: it, or a file in it, is not where it has to be.
    """
    if options.directory is None:
        return NO_DIRECTORY
    given = Path(options.directory)
    if not given.is_absolute():
        if manifests is None:
            raise PluginConfigInvalid(
                f"directory: {options.directory!r} is relative to the folder of the manifests, and none is set; set "
                "TALLYD_MANIFESTS, or write it absolute"
            )
        given = manifests / given
        if not given.resolve().is_relative_to(manifests.resolve()):
            raise PluginConfigInvalid(f"directory: {options.directory!r} leads out of the folder of the manifests")
    if not given.is_dir():
        raise PluginConfigInvalid(f"directory: {given} is no folder")
    for each in options.files:
        if not (given / each).resolve().is_relative_to(given.resolve()):
            raise PluginConfigInvalid(f"files: {each!r} leads out of {given}")
        if not (given / each).is_file():
            raise PluginConfigInvalid(f"files: there is no {each!r} in {given}")
    # Not with its links followed: where it is a link that is swapped, the mounts are to follow.
    return str(given.absolute())


class Resolved:
    """Declarations as Compose resolves them. Remembered while neither they nor any file of their folder changes."""

    def __init__(self, compose: Compose) -> None:
        self._compose = compose
        self._lock = threading.Lock()
        self._kept: dict[str, Mapping[str, Any] | PluginConfigInvalid] = {}

    @property
    def installed(self) -> bool:
        """Whether there is a Compose to ask."""
        return bool(self._compose.find())

    def frozen(self, options: ComposeOptions, directory: str) -> Mapping[str, Any]:
        """Document and followed files of a declaration.

        :raises PluginConfigInvalid: Compose refuses it; in its own words.
        :raises VerbFailed: Compose cannot be asked.
        """
        key = digest_of([options.model_dump(mode="json"), directory, self._fingerprint(options, directory)])
        with self._lock:
            kept = self._kept.pop(key, None)
        if kept is None:
            kept = self._ask(options, directory)
        with self._lock:
            self._kept[key] = kept
            while len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        if isinstance(kept, PluginConfigInvalid):
            raise PluginConfigInvalid(str(kept))
        return kept

    def _ask(self, options: ComposeOptions, directory: str) -> Mapping[str, Any] | PluginConfigInvalid:
        document = orjson.dumps(options.inline) if options.inline is not None else None
        asked = ComposeRun(
            ["config"],
            PROJECT_MARK,
            directory,
            CONFIG_SECONDS,
            document=document,
            files=options.files,
            profiles=options.profiles,
            environment=resolving_values(options),
        )
        try:
            done = self._compose.run(asked)
        except EngineError as error:
            raise VerbFailed(f"the Compose file cannot be checked: {error}") from error
        if done.code:
            said = told(done, options.plain, {each: mark_of(each) for each in options.secrets})
            return PluginConfigInvalid(f"Compose says: {said}")
        try:
            resolved = document_from(done.output, options)
            return {"document": resolved, "files": followed_files(resolved, directory)}
        except PluginConfigInvalid as error:
            return error

    def _fingerprint(self, options: ComposeOptions, directory: str) -> object:
        return () if directory == NO_DIRECTORY else _looks_of(Path(directory), self._written_to(options, directory))

    def _written_to(self, options: ComposeOptions, directory: str) -> frozenset[str]:
        """Folders that services write to, as far as they are known: what changes there is none of our business."""
        with self._lock:
            known = [each for each in self._kept.values() if isinstance(each, Mapping)]
        services = [service for each in known for service in (each["document"].get("services") or {}).values()]
        mounts = (mount for service in services for mount in mounts_of(service))
        return frozenset(each.path for each in mounts if not each.read_only and Path(each.path).is_dir())


def _looks_of(folder: Path, left_out: frozenset[str]) -> Sequence[object]:
    """What tells cheaply that a file of a folder was changed: places, sizes and times, up to a number of files."""
    seen: list[object] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if str(Path(place, each)) not in left_out and each != ".git")
        for name in sorted(files):
            path = Path(place, name)
            try:
                found = path.stat()
            except OSError:
                seen.append([str(path)])
                continue
            seen.append([str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns])
            if len(seen) >= MOST_FILES:
                return seen
    return seen
