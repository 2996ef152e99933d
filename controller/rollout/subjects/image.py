"""The source `image` before the conformance kit: with an image that whoever runs it names."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from controller.plugins.sources.image import ImageSource
from controller.plugins.sources.image_plan import pinned
from controller.rollout.deployer import Revision, Workload
from controller.rollout.subjects.ground import Ground, changed_by, port_of

_DRAIN_SECONDS = 2


class ImageSubject:
    """Revisions of one image, which differ by an environment variable.

    :param image: one that serves HTTP: at hand on the engine, or in a registry that the engine may pull from.
    :param port: where it listens in its container.
    :param command: what it is started with, in a shell's words; empty for the image's own.
    :param docker_host: the engine; empty for that of ``DOCKER_HOST``.
    """

    def __init__(self, *, image: str, port: str = "80", command: str = "", docker_host: str = "") -> None:
        self._image = image
        self._port = port_of(port)
        self._command = shlex.split(command)
        self._ground = Ground(docker_host)
        self._digest = ""
        source = ImageSource()
        source.equip(self._ground.tools)
        self.deployer = self._ground.with_rows(source)

    def workload(self, name: str) -> Workload:
        """See `Subject`."""
        return self._ground.declare(name, "image")

    def revision(self, workload: Workload, sequence: int) -> Revision:
        """See `Subject`."""
        self._digest = self._digest or self._ground.look.resolve_image(self._image)
        config: dict[str, Any] = {"image": self._image, "port": self._port, "env": changed_by(sequence)}
        config |= {"drain_seconds": _DRAIN_SECONDS, "stop_grace_seconds": 0}
        if self._command:
            config["command"] = self._command
        return Revision(f"{workload.id}-{sequence}", workload.id, sequence, self._image, self._digest, "", config)

    def provider_calls(self) -> int:
        """See `Subject`."""
        return self._ground.calls

    def snapshot(self) -> object:
        """See `Subject`."""
        return self._ground.snapshot()

    def answers(self, workload: Workload, revision: Revision) -> bool:
        """See `Subject`."""
        return self._ground.answers(revision.id, self._port)

    def traffic(self, workload: Workload) -> Mapping[str, int]:
        """See `Subject`."""
        return self._ground.traffic(workload)

    def staged(self, workload: Workload, revision: Revision) -> bool:
        """See `ShowsWhatIsStaged`."""
        return any(self._ground.look.find_image(each) for each in (revision.image_digest, pinned(revision)))

    def session(self, workload: Workload, revision: Revision) -> AbstractContextManager[None]:
        """See `HoldsSessions`."""
        return self._ground.session(revision.id, self._port)

    def break_provider(self) -> None:
        """See `BreaksItsProvider`: the engine is out of reach."""
        self._ground.break_engine()

    def close(self) -> None:
        """See `Subject`."""
        self._ground.close()
