"""Which routers follow a runtime config, by the notes that they leave beside it.

A router writes down what it has in force, and whether requests of the configuration before are all ended; who wrote
the runtime config reads it. A router that was killed leaves its note behind, as its proxy goes on serving: it counts
until it is started again, or its note is removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from controller.declared.durable import replace_file

log = structlog.get_logger(__name__)

_NAME_LENGTH = 16
_NOTHING = ""


@dataclass(frozen=True, slots=True)
class Note:
    """What one router says. ``in_force`` is the digest of a runtime config, ``alone`` whether no other one serves.

    Of a router that asks and never tells, ``in_force`` is nothing.
    """

    router: str
    in_force: str | None
    alone: bool


def notes_of(runtime: Path) -> Path:
    """The folder of the notes."""
    return runtime.with_name(f"{runtime.name}.routers")


def digest_of(text: str | None) -> str:
    """What a runtime config is known by; the absent one has none."""
    return _NOTHING if text is None else hashlib.sha256(text.encode()).hexdigest()


class Follower:
    """A router's own note. ``router`` tells people which one it is, and is another for each."""

    def __init__(self, runtime: Path, router: str) -> None:
        name = hashlib.sha256(router.encode()).hexdigest()[:_NAME_LENGTH]
        self._path = notes_of(runtime) / f"{name}.json"
        self._router = router

    def tell(self, text: str | None, *, alone: bool) -> None:
        """Say what is in force.

        :raises OSError: it cannot be written.
        """
        self._write(digest_of(text), alone=alone)

    def ask(self) -> None:
        """Say that there is a router which asks for the splits, and never tells what it made of them.

        :raises OSError: it cannot be written.
        """
        if not self._path.exists():
            self._write(None, alone=False)

    def leave(self) -> None:
        """Take the note away: nobody is served any more.

        :raises OSError: it cannot be removed.
        """
        self._path.unlink(missing_ok=True)

    def _write(self, in_force: str | None, *, alone: bool) -> None:
        self._path.parent.mkdir(exist_ok=True)
        told = {"router": self._router, "in_force": in_force, "alone": alone}
        replace_file(self._path, json.dumps(told), durable=False)


class Asker:
    """Leaves a note of Traefik, once: it fetches the splits by itself, and nobody can tell when it follows them.

    :param runtime: nothing where no runtime config is written.
    """

    def __init__(self, runtime: Path | None) -> None:
        self._follower = None if runtime is None else Follower(runtime, "Traefik")

    def __call__(self) -> None:
        """It has asked."""
        follower, self._follower = self._follower, None
        try:
            if follower is not None:
                follower.ask()
        except OSError as error:
            log.warning("that Traefik asks could not be noted; drains may be too short for it", reason=str(error))


class Followers:
    """All routers of one runtime config, as whoever writes it sees them."""

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime

    def behind(self) -> list[str]:
        """Routers that have something else in force than what the runtime config says."""
        wanted = self._wanted()
        return [each.router for each in self._notes() if each.in_force not in (wanted, None)]

    def routed_elsewhere(self) -> str:
        """Empty when every known router has taken the runtime config over whole; else why not."""
        notes, wanted = list(self._notes()), self._wanted()
        if not notes:
            return "no router tells what it has in force"
        for each in notes:
            if each.in_force is None:
                return f"router {each.router} does not tell what it has in force"
            if each.in_force != wanted:
                return f"router {each.router} has not taken the split over"
            if not each.alone:
                return f"router {each.router} still serves requests of the split before"
        return ""

    def _wanted(self) -> str:
        try:
            return digest_of(self._runtime.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return _NOTHING

    def _notes(self) -> Iterator[Note]:
        for path in sorted(notes_of(self._runtime).glob("*.json")):
            try:
                told = json.loads(path.read_text(encoding="utf-8"))
                in_force = None if told["in_force"] is None else str(told["in_force"])
                yield Note(str(told["router"]), in_force, told["alone"] is True)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError):
                yield Note(path.name, "unreadable", alone=False)
