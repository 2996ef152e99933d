"""The controller config as a file that people edit, under generation compare-and-swap.

The generations stand in a file beside it, with the digest of each content. A change is told there as pending
first; then the config file is renamed into place, and with that one rename content and generation change together
(G4): who reads the new content finds its digest as the newest generation, who reads the old one finds the one
before. A content that no generation has was written by hand, and becomes the next one (G11).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from controller.declared.config_text import render_config
from controller.declared.durable import replace_file
from controller.errors import ConfigInvalid, LockTimeout
from controller.settings_sources import read_config
from store.config_generations import KEPT_GENERATIONS, LOCK_TIMEOUT_SECONDS
from store.records import ConfigDocument

BY_HAND = "edited by hand"

_LOCK_POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class _Entry:
    generation: int
    digest: str
    content: Mapping[str, Any]
    author: str
    at: str
    committed: bool

    def document(self) -> ConfigDocument:
        return ConfigDocument(self.generation, self.content, self.author, datetime.fromisoformat(self.at))


@dataclass(frozen=True, slots=True)
class _Found:
    """What is on the disk: entries that took effect, and the text's content; ``None`` where there is no file.

    Not ``settled``: the newest entry took effect, but is still told as pending.
    """

    entries: tuple[_Entry, ...]
    content: Mapping[str, Any] | None
    settled: bool = True

    @property
    def newest(self) -> int:
        return self.entries[-1].generation if self.entries else 0

    @property
    def document(self) -> ConfigDocument | None:
        """``None``: the content was written by hand, and has no generation yet."""
        if self.content is None:
            return ConfigDocument(self.newest, absent=bool(self.entries))
        if self.entries and self.entries[-1].digest == digest_of(self.content):
            return self.entries[-1].document()
        return None


def digest_of(content: Mapping[str, Any]) -> str:
    """Digest of a parsed content: white space and comments do not count (W7)."""
    canonical = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


class ConfigFile:
    """One config file with its generations. Safe from several threads and processes."""

    backend = "file"

    def __init__(
        self, path: Path, now: Callable[[], datetime], *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
    ) -> None:
        self.path = path
        self.generations_path = path.with_name(f".{path.name}.generations")
        self.lock_path = path.with_name(f".{path.name}.lock")
        self._now = now
        self._lock_timeout = lock_timeout_seconds
        self._inside = threading.Lock()
        self._unrecorded: _Entry | None = None

    @property
    def paths(self) -> dict[str, str]:
        """Where it is, resolved; for the diagnostic form of an answer (G10)."""
        return {
            "config": str(self.path.resolve()),
            "generations": str(self.generations_path.absolute()),
            "lock": str(self.lock_path.absolute()),
        }

    @property
    def watched(self) -> tuple[Path, ...]:
        """The file, which a person may change."""
        return (self.path,)

    def read(self) -> ConfigDocument:
        """The config with its generation; an edit by hand is taken up as the next generation first.

        :raises ConfigInvalid: the file, or what is beside it, cannot be read or is not allowed (G2).
        :raises LockTimeout: an edit by hand could not be taken up in time.
        """
        found = self._look()
        if found.content is None and self._unrecorded is not None:
            return ConfigDocument(self._unrecorded.generation, absent=True)
        if found.document is not None and found.settled:
            return found.document
        if not self.lockable:
            return found.document or self._take_up(found)
        with self._locked():
            return self._settled()[1]

    def change(
        self,
        make: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        *,
        author: str,
        expected_generation: int | None = None,
    ) -> ConfigDocument:
        """Store what ``make`` makes of the current content as the next generation; what it raises stores nothing.

        :raises GenerationConflict: the current generation is not the expected one (G3).
        :raises LockTimeout: somebody else held the lock for too long (G1).
        :raises ConfigInvalid: the file cannot be read or written.
        """
        if not self.lockable:
            raise self._unwritable("its folder cannot be written by this user")
        with self._locked():
            found, current = self._settled()
            current.expect(expected_generation)
            entry = self._entry(current.generation + 1, make(current.content), author)
            self._commit(found, entry)
            return entry.document()

    def history(self) -> list[ConfigDocument]:
        """The generations that are kept, newest first."""
        self.read()
        return [each.document() for each in reversed(self._look().entries)]

    @property
    def lockable(self) -> bool:
        """Whether anything can be written here; it cannot in a folder that is mounted read-only."""
        folder = next(each for each in self.path.absolute().parents if each.exists())
        return os.access(folder, os.W_OK)

    def _settled(self) -> tuple[_Found, ConfigDocument]:
        """Under the lock: what is there, once it is on record."""
        found = self._look()
        if found.document is None:
            taken_up = self._take_up(found)
            return self._look(), taken_up
        if not found.settled:  # its writer was killed right after the rename
            self._record(found.entries, durable=False)
        return found, found.document

    def _take_up(self, found: _Found) -> ConfigDocument:
        """Record an edit by hand. Where nothing can be written, it is remembered as long as this process lives."""
        before = self._unrecorded
        generation = max(found.newest, before.generation if before else 0) + 1
        entry = self._entry(generation, found.content or {}, BY_HAND)
        if before is not None and before.digest == entry.digest:
            return before.document()
        try:
            self._record((*found.entries, replace(entry, committed=True)))
        except OSError:
            self._unrecorded = entry
        return entry.document()

    def _entry(self, generation: int, content: Mapping[str, Any], author: str) -> _Entry:
        return _Entry(generation, digest_of(content), content, author, self._now().isoformat(), committed=False)

    def _commit(self, found: _Found, entry: _Entry) -> None:
        try:
            self._clear_leftovers()
            if found.content is not None and digest_of(found.content) == entry.digest:
                self._record((*found.entries, replace(entry, committed=True)))  # G6: the text stays as it is
                return
            self._record((*found.entries, entry))
            target = self.path.resolve()
            replace_file(target, render_config(target, found.content or {}, entry.content))
            self._record((*found.entries, replace(entry, committed=True)), durable=False)
        except OSError as error:
            told = "edit it where it comes from, or let TALLYD_CONFIG name a file that can be written"
            raise ConfigInvalid(
                f"controller config {self.path} cannot be written: {error.strerror}; {told}"
            ) from error

    def _record(self, entries: tuple[_Entry, ...], *, durable: bool = True) -> None:
        kept = [{name: getattr(each, name) for name in _Entry.__slots__} for each in entries[-KEPT_GENERATIONS:]]
        replace_file(self.generations_path, json.dumps({"generations": kept}, default=str), durable=durable)

    def _clear_leftovers(self) -> None:
        """What writers that were killed left behind; whoever holds the lock is the only writer."""
        for name in (self.path.name, self.generations_path.name):
            for leftover in self.path.parent.glob(f".{name}.*.new"):
                with suppress(FileNotFoundError):
                    leftover.unlink()

    def _look(self) -> _Found:
        # The content first: entries that are read later know it, or are told that it is older than two changes.
        content = self._read_content()
        entries = self._read_entries()
        if not entries or entries[-1].committed:
            return _Found(entries, content)
        before, pending = entries[:-1], entries[-1]
        if content is None or digest_of(content) != pending.digest:
            return _Found(before, content)  # told, but not in effect (yet)
        return _Found((*before, replace(pending, committed=True)), content, settled=False)

    def _read_content(self) -> Mapping[str, Any] | None:
        try:
            self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigInvalid(f"controller config {self.path} cannot be read: {error.strerror}") from error
        return read_config(self.path).values

    def _read_entries(self) -> tuple[_Entry, ...]:
        try:
            text = self.generations_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ConfigInvalid(f"{self.generations_path} cannot be read: {error.strerror}") from error
        try:
            return tuple(_Entry(**each) for each in json.loads(text)["generations"])
        except (ValueError, KeyError, TypeError) as error:
            told = f"it holds the generations of {self.path.name}; move it away to begin anew at generation 1"
            raise ConfigInvalid(f"{self.generations_path} is damaged ({error}): {told}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """In this process, then among processes. The kernel frees its lock when the holder dies (G8)."""
        if not self._inside.acquire(timeout=self._lock_timeout):
            raise self._too_long()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(
                self.lock_path,
                timeout=self._lock_timeout,
                poll_interval=_LOCK_POLL_SECONDS,
                fallback_to_soft=False,
                preserve_lock_file=True,
            )
            with lock:
                yield
        except Timeout as error:
            raise self._too_long() from error
        except OSError as error:
            raise self._unwritable(f"{self.lock_path}: {error.strerror or error}") from error
        finally:
            self._inside.release()

    def _unwritable(self, why: str) -> ConfigInvalid:
        told = "edit it where it comes from, or let TALLYD_CONFIG name a file that can be written"
        return ConfigInvalid(f"controller config {self.path} is as it was: {why}; {told}")

    def _too_long(self) -> LockTimeout:
        return LockTimeout(
            f"controller config {self.path}: somebody held its lock for over {self._lock_timeout:g} s; nothing was "
            "stored, try again"
        )
