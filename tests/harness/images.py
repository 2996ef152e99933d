"""Images made of programs of this machine, because no test may need an image registry."""

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
NGINX = "nginx:local"
CHANGES: dict[str, list[str]] = {
    BUSYBOX: ['CMD ["sh"]', "ENV PATH=/bin"],
    LABELLED: ['CMD ["sh"]', "ENV PATH=/bin", "LABEL tallyd.workload.id=from-image"],
    NGINX: ['CMD ["nginx", "-g", "daemon off;"]', "ENV PATH=/usr/sbin"],
}


def import_images(client: APIClient, wanted: Iterable[str]) -> list[str]:
    """Import those of the wanted test images that the engine does not have; returns what it imported."""
    present = {tag for image in client.images() for tag in image["RepoTags"] or ()}
    missing = [image for image in wanted if image not in present]
    for image in missing:
        repository, _, tag = image.partition(":")
        root = _nginx_file_system() if image == NGINX else _root_file_system()
        client.import_image_from_data(root, repository, tag, changes=CHANGES[image])
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


@functools.cache
def _nginx_file_system() -> bytes:
    """The machine's nginx with its libraries and nothing else, as its package would lie in an image."""
    require("nginx")
    nginx = program_path("nginx")
    told = subprocess.run(["ldd", nginx], capture_output=True, check=True, text=True).stdout
    libraries = {part for part in told.split() if part.startswith("/")}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for each in sorted(libraries):
            _add_file(tar, each.lstrip("/"), Path(each).read_bytes(), 0o755)
        _add_file(tar, "usr/sbin/nginx", Path(nginx).read_bytes(), 0o755)
        _add_file(tar, "etc/nginx/mime.types", Path("/etc/nginx/mime.types").read_bytes(), 0o644)
        _add_file(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644)
        _add_file(tar, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)
        for name, mode in (("var/lib/nginx", 0o755), ("var/log/nginx", 0o755), ("run", 0o755), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
    return archive.getvalue()


def _add_file(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _add_link(tar: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
    tar.addfile(entry)
