"""Keeping a router at what the runtime config says: watched, loaded, put in force; what is no good changes nothing.

Watching is :mod:`controller.declared.watcher`'s (W1–W6), what is acceptable is the loader's (T3), how it comes into
force is the router's (T5).
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

import structlog

from controller.declared.durable import replace_file
from controller.declared.targets import Target
from controller.declared.watcher import Watcher
from controller.errors import RouterError, RuntimeConfigInvalid
from controller.rollout.followers import Follower
from controller.rollout.routers.document import RouterDocument, empty_document, load_document

CHECK_SECONDS = 5.0
# A runtime config is written by one rename; there is no second write to wait for.
DEBOUNCE_SECONDS = 0.02
ALONE_SECONDS = 0.1
"""How often it is looked whether the configuration before has ended, as long as it has not."""
LARGEST_BYTES = 16 * 2**20

log = structlog.get_logger(__name__)


class Router(Protocol):
    """Whatever can be brought to a document."""

    @property
    def pid(self) -> int | None:
        """The process that serves, if it is alive."""

    @property
    def alone(self) -> bool:
        """Whether no configuration before the one in force serves any request."""

    def apply(self, document: RouterDocument, quarantined: Collection[str]) -> bool:
        """Bring it to this document, and start it where it does not run.

        :raises RouterFailed: the document before goes on being served.
        """


@dataclass(frozen=True, slots=True)
class InForce:
    """What the router serves now; ``trouble`` says why that is not what the runtime config says, or is empty."""

    document: RouterDocument
    quarantined: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


class RouterAgent:
    """Follows the runtime config at ``path`` for ``router``, on the thread that calls :meth:`run`.

    :param last_good: where the last runtime config that was put in force is kept, for a start with a bad one.
    :param follower: tells beside the runtime config what is in force.
    """

    def __init__(
        self,
        path: Path,
        host: str,
        router: Router,
        last_good: Path,
        *,
        follower: Follower | None = None,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._path = path.absolute()
        self._follower = follower or Follower(self._path, f"{socket.gethostname()}:{last_good.absolute().parent}")
        self._host = host
        self._router = router
        self._last_good = last_good
        self._check_seconds = check_seconds
        # Whether to end. A signal handler runs inside whatever its thread does and may take no lock; this takes none.
        self._told: SimpleQueue[bool] = SimpleQueue()
        self._in_force: InForce | None = None
        self._text: str | None = None
        self._said: tuple[str | None, bool] | None = None
        self._mute = False

    @property
    def in_force(self) -> InForce | None:
        """What is served; none before the first document was put in force."""
        return self._in_force

    def run(self) -> None:
        """Follow the runtime config until :meth:`stop`.

        :raises WatchFailed: its folder cannot be watched (W1).
        """
        watcher = Watcher([Target(self._path)], lambda: self._told.put(False), debounce_seconds=DEBOUNCE_SECONDS)
        self._follow()
        watcher.start()
        try:
            while True not in (told := self._wait()):
                if told or self._is_amiss(watcher):
                    self._follow()
                self._say()
        finally:
            watcher.stop()

    def stop(self) -> None:
        """End :meth:`run`, from any thread or a signal handler; the router goes on serving."""
        self._told.put(True)

    @property
    def _settled(self) -> bool:
        """Whether all was said that there is to say, until something changes."""
        return self._said is None or self._said[1] or (self._in_force is not None and bool(self._in_force.trouble))

    def _wait(self) -> set[bool]:
        """All that was told by now; nothing, when nothing was for the time of a check."""
        try:
            told = {self._told.get(timeout=self._check_seconds if self._settled else ALONE_SECONDS)}
        except Empty:
            return set()
        while not self._told.empty():
            told.add(self._told.get())
        return told

    def _is_amiss(self, watcher: Watcher) -> bool:
        """What no notice tells of: a watch that went deaf (W6), a proxy that died, one that could not be reached."""
        watcher.check()
        return self._in_force is None or bool(self._in_force.trouble) or self._router.pid is None

    def _follow(self) -> None:
        try:
            text = self._read()
            document, quarantined = self._load(text)
            changed = self._router.apply(document, quarantined)
        except RouterError as error:
            self._keep(str(error))
            return
        before, self._in_force = self._in_force, InForce(document, quarantined)
        self._text = text
        self._say()
        self._remember(text)
        self._tell(before, self._in_force, changed=changed)

    def _read(self) -> str | None:
        """The text, or nothing where there are no splits (T2)."""
        try:
            if self._path.stat().st_size > LARGEST_BYTES:
                raise RuntimeConfigInvalid(f"{self._path} is larger than {LARGEST_BYTES} bytes")
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            if self._path.parent.is_dir() and not self._path.is_symlink():
                return None
            raise RuntimeConfigInvalid(f"{self._path} cannot be read: {error.strerror}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise RuntimeConfigInvalid(f"{self._path} cannot be read: {error}") from error

    def _load(self, text: str | None) -> tuple[RouterDocument, Mapping[str, str]]:
        return (empty_document(self._host), {}) if text is None else load_document(text, self._host)

    def _keep(self, trouble: str) -> None:
        """Go on with the last good document; at a start with that of the process before, or with nothing."""
        before = self._in_force
        if before is None or before.trouble != trouble:
            log.error("runtime config is not in force, the last good one serves", reason=trouble)
        if before is not None and self._router.pid is not None:
            self._in_force = InForce(before.document, before.quarantined, trouble)
            return
        kept = (before.document, before.quarantined) if before is not None else self._remembered()
        try:
            self._router.apply(*kept)
        except RouterError as error:
            if str(error) != trouble:
                log.error("the last good runtime config cannot be served either", reason=str(error))
            trouble = str(error) if before is None else trouble
        self._in_force = InForce(*kept, trouble)

    def _remembered(self) -> tuple[RouterDocument, Mapping[str, str]]:
        try:
            return load_document(self._last_good.read_text(encoding="utf-8"), self._host)
        except (OSError, UnicodeDecodeError, RuntimeConfigInvalid):
            return empty_document(self._host), {}

    def leave(self) -> None:
        """Say that nobody is served any more; to be called when the router has ended."""
        try:
            self._follower.leave()
        except OSError as error:
            log.warning("the note for the controller could not be removed", reason=str(error))

    def _say(self) -> None:
        """Tell the controller what is in force. One that cannot be told waits longer, and nothing else."""
        said = (self._text, self._router.alone)
        if self._in_force is None or self._in_force.trouble or said == self._said:
            return
        try:
            self._follower.tell(self._text, alone=said[1])
            self._mute = False
        except OSError as error:
            if not self._mute:
                log.warning("the controller cannot be told what is in force", reason=str(error))
            self._mute = True
        self._said = said

    def _remember(self, text: str | None) -> None:
        try:
            if text is None:
                self._last_good.unlink(missing_ok=True)
            else:
                replace_file(self._last_good, text, durable=False)
        except OSError as error:
            log.warning("the last good runtime config could not be kept", reason=str(error))

    def _tell(self, before: InForce | None, now: InForce, *, changed: bool) -> None:
        if changed or before is None or before.trouble:
            log.info("routing", workloads=len(now.document.workloads), quarantined=len(now.quarantined))
        known = before.quarantined if before is not None else {}
        for workload, why in now.quarantined.items():
            if known.get(workload) != why:
                log.warning("workload in quarantine: it is answered with 503", workload=workload, reason=why)
