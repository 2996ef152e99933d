"""The source `static` before the conformance kit: folders of two files, published by an nginx that a person names."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from controller.plugins.sources.static import StaticSource
from controller.plugins.sources.static_options import options_of
from controller.plugins.sources.static_releases import Site
from controller.rollout.deployer import Revision, Workload
from controller.rollout.subjects.ground import EngineSubject
from store.records import WorkloadKind

_DRAIN_SECONDS = 2
_ASK_SECONDS = 5.0
_PORT = 8080


class StaticSubject(EngineSubject):
    """Revisions of a site, each of them a folder with a page of its own.

    :param image: one with nginx: at hand on the engine, or in a registry that the engine may pull from.
    :param docker_host: the engine; empty for that of ``DOCKER_HOST``. It must see the files of this machine.
    """

    one_at_a_time = True

    def __init__(self, *, image: str, docker_host: str = "") -> None:
        super().__init__(docker_host)
        self._image = image
        self._digest = ""
        source = StaticSource()
        source.equip(self._ground.tools)
        self._source = source
        self.deployer = self._ground.with_rows(source)

    def workload(self, name: str) -> Workload:
        """See `Subject`."""
        return self._ground.declare(name, "static", WorkloadKind.SITE)

    def revision(self, workload: Workload, sequence: int) -> Revision:
        """See `Subject`."""
        made = Revision(f"{workload.id}-{sequence}", workload.id, sequence, self._image, "", "")
        folder = self._ground.folder / "content" / made.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text(_page(made))
        (folder / "style.css").write_text("body { margin: 1em }\n")
        for each in folder.iterdir():
            each.chmod(0o644)
        config = self._source.freeze(
            {
                "directory": str(folder),
                "image": self._image,
                "port": _PORT,
                "drain_seconds": _DRAIN_SECONDS,
                "stop_grace_seconds": 0,
            }
        )
        self._digest = self._digest or self._ground.look.resolve_image(self._image)
        return replace(made, image_digest=self._digest, config=config)

    def snapshot(self) -> object:
        """See `Subject`: containers, routers, and all files of the sites but the locks."""
        sites = self._ground.folder / "sites"
        files = [each for each in sorted(sites.rglob("*")) if each.is_file() or each.is_symlink()]
        told = {str(each): str(each.readlink()) if each.is_symlink() else each.read_text() for each in files}
        return {"world": self._ground.snapshot(), "files": told}

    def answers(self, workload: Workload, revision: Revision) -> bool:
        """See `Subject`: at the port where each release is answered by its name."""
        release = self._release(workload, revision)
        port = options_of(revision.config).preview_port
        return bool(release) and _page(revision) in self._asked(workload, port, f"/{release}/")

    def traffic(self, workload: Workload) -> Mapping[str, int]:
        """See `Subject`: what the routers were told, as far as it is what the web server answers."""
        told = self._ground.traffic(workload)
        pages = self._asked(workload, _PORT, "/")
        served = {each: weight for each, weight in told.items() if not weight or f"revision {each}\n" in pages}
        return served if told else {}

    def staged(self, workload: Workload, revision: Revision) -> bool:
        """See `ShowsWhatIsStaged`."""
        release = self._release(workload, revision)
        place = self._site(workload).path_of(release) / "index.html"
        return bool(release) and place.read_text() == _page(revision) and bool(self._found(revision))

    @contextmanager
    def session(self, workload: Workload, revision: Revision) -> Iterator[None]:
        """See `HoldsSessions`: a connection that has asked for half a page."""
        (address,) = self._addresses(workload)
        with contextlib.closing(socket.create_connection((address, _PORT), _ASK_SECONDS)) as connection:
            connection.sendall(b"GET / HT")
            yield

    def _found(self, revision: Revision) -> str:
        return self._ground.look.find_image(revision.image_digest) or self._ground.look.find_image(self._image)

    def _site(self, workload: Workload) -> Site:
        return Site(Path(self._ground.folder, "sites", workload.id))

    def _release(self, workload: Workload, revision: Revision) -> str:
        return self._site(workload).release_of(revision, options_of(revision.config).content.digest)

    def _addresses(self, workload: Workload) -> list[str]:
        label = self._ground.label("static-site")
        there = [each for each in self._ground.containers() if each.labels.get(label) == workload.ref]
        found = (list(each.addresses.values()) for each in there if each.state == "running")
        return [each[0] for each in found if each and each[0]]

    def _asked(self, workload: Workload, port: int, path: str) -> list[str]:
        """The pages that the web servers of a site answer with."""
        pages = []
        for address in self._addresses(workload):
            connection = http.client.HTTPConnection(address, port, timeout=_ASK_SECONDS)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", path)
                answer = connection.getresponse()
                if answer.status == 200:
                    pages.append(answer.read().decode())
        return pages


def _page(revision: Revision) -> str:
    return f"revision {revision.id}\n"
