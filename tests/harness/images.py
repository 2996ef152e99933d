"""Images made from a statically linked busybox, because no test may need an image registry."""

from __future__ import annotations

import functools
import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from docker import APIClient

from tests.harness.components import program_path, require

BUSYBOX = "busybox:local"
LABELLED = "labelled:local"
CHANGES: dict[str, list[str]] = {
    BUSYBOX: ['CMD ["sh"]', "ENV PATH=/bin"],
    LABELLED: ['CMD ["sh"]', "ENV PATH=/bin", "LABEL tallyd.workload.id=from-image"],
}


def import_images(client: APIClient, wanted: Iterable[str]) -> list[str]:
    """Import those of the wanted test images that the engine does not have; returns what it imported."""
    present = {tag for image in client.images() for tag in image["RepoTags"] or ()}
    missing = [image for image in wanted if image not in present]
    for image in missing:
        repository, _, tag = image.partition(":")
        client.import_image_from_data(_root_file_system(), repository, tag, changes=CHANGES[image])
    return missing


def remove_images(client: APIClient, images: Iterable[str]) -> None:
    """Remove images that `import_images` imported."""
    for image in images:
        client.remove_image(image, force=True)


@functools.cache
def _root_file_system() -> bytes:
    require("busybox")
    busybox = program_path("busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, check=True, text=True).stdout.split()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        _add_file(tar, "bin/busybox", Path(busybox).read_bytes(), 0o755)
        _add_file(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644)
        _add_file(tar, "www/index.html", b"busybox:local\n", 0o644)
        for applet in applets:
            if applet != "busybox":
                _add_link(tar, f"bin/{applet}")
    return archive.getvalue()


def _add_file(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _add_link(tar: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
    tar.addfile(entry)
