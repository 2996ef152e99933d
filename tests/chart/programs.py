"""Images of this machine's own programs, for a Compose file that names images of a registry."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from docker import APIClient

from tests.chart.components import program
from tests.harness.components import program_path, require


def import_program(client: APIClient, name: str, tag: str) -> None:
    """An image `tag` with busybox as shell and one program with the libraries that it is linked with."""
    client.import_image_from_data(_file_system(name), *tag.split(":"), changes=["ENV PATH=/bin:/usr/sbin:/usr/bin"])


def _file_system(name: str) -> bytes:
    require("busybox")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for directory in ("tmp", "prometheus", "etc", "run"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
        _add(tar, "bin/sh", Path(program_path("busybox")))
        path = Path(program(name))
        _add(tar, f"bin/{name}", path)
        for library in _libraries(path):
            _add(tar, str(library).lstrip("/"), library)
    return archive.getvalue()


def _add(tar: tarfile.TarFile, name: str, source: Path) -> None:
    content = source.read_bytes()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755
    tar.addfile(entry, io.BytesIO(content))


def _libraries(path: Path) -> Iterator[Path]:
    printed = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
    for line in printed.splitlines():
        found = next((Path(word) for word in line.split() if word.startswith("/")), None)
        if found is not None and found.exists():
            yield found
