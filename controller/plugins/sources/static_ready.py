"""Waiting until a web server answers with the bytes of a release."""

from __future__ import annotations

import http.client
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from controller.plugins.contract import ContainerSeen, EngineTools, VerbFailed
from controller.plugins.sources.static_options import StaticOptions
from controller.plugins.sources.static_tree import Folder
from controller.plugins.waiting import ENDED, Timing, wrote

POLL_SECONDS = 0.1
ASK_SECONDS = 3.0
MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a server at a port, and the beginning of the right answer; without a path: that it listens."""

    port: int
    path: str = ""
    expected: bytes = b""

    def answered(self, tools: EngineTools, address: str) -> str:
        """What is wrong with the answer; an empty text where nothing is."""
        if not self.path:
            return "" if tools.answers(address, self.port) else f"does not answer on port {self.port}"
        connection = http.client.HTTPConnection(address, self.port, timeout=ASK_SECONDS)
        try:
            connection.request("GET", self.path, headers={"Host": "localhost", "Connection": "close"})
            answer = connection.getresponse()
            said = answer.read(len(self.expected) + 1) if len(self.expected) < MOST_BYTES else answer.read(MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            return f"does not answer on port {self.port}: {error}"
        finally:
            connection.close()
        if answer.status != 200:
            return f"answers {answer.status} for {self.path}"
        return "" if said == self.expected else f"answers {self.path} with other content"


def sample_of(release: Path, index: str) -> tuple[bytes, bytes]:
    """A file of a release to ask for, and how it begins: the index, or else the smallest.

    :raises VerbFailed: it has none.
    """
    files = [(found.st_size, path) for path, found in Folder(release).looks() if stat.S_ISREG(found.st_mode)]
    if not files:
        raise VerbFailed("there is no file to publish")
    wanted = os.fsencode(index)
    path = wanted if any(path == wanted for _, path in files) else min(files)[1]
    with (release / os.fsdecode(path)).open("rb") as file:
        return path, file.read(MOST_BYTES)


def preview_question(options: StaticOptions, release: Path) -> Question:
    """Whether a release is answered before it is published; of a server of somebody's own, only that it listens."""
    if not options.preview_port:
        return Question(options.port)
    path, expected = sample_of(release, options.index)
    return Question(options.preview_port, f"/{quote(release.name)}/{quote(path)}", expected)


def public_question(options: StaticOptions, release: Path) -> Question:
    """Whether a release is what visitors get."""
    path, expected = sample_of(release, options.index)
    return Question(options.port, f"/{quote(path)}", expected)


def wait_until_answered(
    tools: EngineTools, container_id: str, question: Question, options: StaticOptions, timing: Timing
) -> str:
    """Wait until a container gives the right answer; returns where.

    :raises VerbFailed: it ended, or did not in time; with its last lines.
    """
    ends, restarts, said = timing.monotonic() + options.start_timeout_seconds, None, "was not looked at yet"
    while True:
        seen = tools.engine.inspect_container(container_id)
        restarts = seen.restarts if seen is not None and restarts is None else restarts
        if why := _ended(seen, restarts):
            raise _failure(tools, seen, container_id, why)
        assert seen is not None
        if seen.state == "running":
            for address in filter(None, seen.addresses.values()):
                said = question.answered(tools, address)
                if not said:
                    return f"answers at {address} port {question.port}"
        else:
            said = f"is {seen.state}"
        if timing.monotonic() >= ends:
            raise _failure(tools, seen, container_id, f"{said}, after {options.start_timeout_seconds} s")
        timing.pause(POLL_SECONDS)


def _ended(seen: ContainerSeen | None, restarts: int | None) -> str:
    if seen is None:
        return "is gone"
    if seen.state in ENDED or (restarts is not None and seen.restarts > restarts):
        return f"exited with {seen.exit_code}"
    return ""


def _failure(tools: EngineTools, seen: ContainerSeen | None, container_id: str, why: str) -> VerbFailed:
    lines = wrote(tools, container_id)
    hint = ""
    if "404" in why or "other content" in why:
        hint = "; does the engine's machine have the folder of TALLYD_SITES at the same path as the controller?"
    name = seen.name if seen is not None else container_id[:12]
    return VerbFailed(f"{name} {why}{hint}; {lines}", {name: f"{why}; {lines}"})
