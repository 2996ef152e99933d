"""An image for the sample, where possible without an image registry: a statically linked busybox."""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
from pathlib import Path

from controller.sample import packages
from controller.sample.client import Docker
from controller.sample.terminal import SampleUnavailable, say

IMPORTED = "tallyd-sample:local"
PULLED = "busybox:latest"
APPLETS = ("sh", "sleep", "httpd", "mkdir", "echo", "cat", "ls", "ps", "wget", "nc")
INTERPRETER_SEGMENT = 3


def provide_image(docker: Docker, folder: Path) -> tuple[str, bool]:
    """The name of an image with a shell, `sleep` and `httpd`, and whether we brought it.

    :raises SampleUnavailable: none can be had.
    """
    if docker.run("images", "--quiet", PULLED):
        return PULLED, False
    if docker.run("images", "--quiet", IMPORTED):  # a killed run left it
        return IMPORTED, True
    busybox = _static_busybox(folder)
    if busybox is None:
        say(f"Pulling the image {PULLED} for the sample")
        docker.run("pull", PULLED, timeout_seconds=600)
        return PULLED, True
    say(f"Importing {busybox} as the image {IMPORTED} for the sample")
    docker.run("import", "--change", "ENV PATH=/bin", "-", IMPORTED, content=_root_file_system(busybox))
    return IMPORTED, True


def is_static(program: bytes) -> bool:
    """Whether a 64-bit little-endian ELF program names no dynamic loader."""
    if program[:6] != b"\x7fELF\x02\x01":
        return False
    offset = struct.unpack_from("<Q", program, 32)[0]
    size, count = struct.unpack_from("<HH", program, 54)
    kinds = [struct.unpack_from("<I", program, offset + number * size)[0] for number in range(count)]
    return INTERPRETER_SEGMENT not in kinds


def _static_busybox(folder: Path) -> Path | None:
    installed = Path(shutil.which("busybox") or "/bin/busybox")
    unpacked = folder / "busybox" / "bin" / "busybox"
    for candidate in (installed, unpacked):
        if candidate.is_file() and is_static(candidate.read_bytes()):
            return candidate
    if shutil.which("apt-get") is None:
        return None
    try:
        packages.unpack("busybox-static", folder / "busybox")
    except SampleUnavailable as exc:
        say(str(exc))
    return unpacked if unpacked.is_file() else None


def _root_file_system(busybox: Path) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = busybox.stat().st_size, 0o755
        with busybox.open("rb") as content:
            tar.addfile(program, content)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return archive.getvalue()
