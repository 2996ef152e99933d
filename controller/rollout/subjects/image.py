"""The source `image` before the conformance kit: with an image that whoever runs it names."""

from __future__ import annotations

from typing import Any

from controller.plugins.sources.image import ImageSource
from controller.plugins.sources.image_plan import pinned
from controller.rollout.deployer import Revision, Workload
from controller.rollout.subjects.ground import ServingSubject, changed_by

_DRAIN_SECONDS = 2


class ImageSubject(ServingSubject):
    """Revisions of one image, which differ by an environment variable."""

    def __init__(self, *, image: str, port: str = "80", command: str = "", docker_host: str = "") -> None:
        super().__init__(image=image, port=port, command=command, docker_host=docker_host)
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

    def staged(self, workload: Workload, revision: Revision) -> bool:
        """See `ShowsWhatIsStaged`."""
        return any(self._ground.look.find_image(each) for each in (revision.image_digest, pinned(revision)))
