"""What the tests may use of any engine, and an engine that the tester provides.

Tests that only create containers run on an offered engine too; tests that stop or kill the engine
always start a private one.
"""

from __future__ import annotations

import contextlib
from typing import Protocol

from docker import APIClient

from tests.harness import images


class Engine(Protocol):
    """What every test may use of an engine."""

    @property
    def endpoint(self) -> str:
        """What goes into DOCKER_HOST."""

    def client(self, timeout_seconds: float = 60.0) -> APIClient:
        """A new low-level client; the caller closes it."""

    def log(self) -> str:
        """The last lines of the engine's log, for a failure's report."""


class OfferedEngine:
    """An engine that the tester provides; the tests only create containers there."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._imported: list[str] = []

    def start(self) -> None:
        """Import the test images that are not there."""
        with contextlib.closing(self.client()) as client:
            self._imported = images.import_images(client, images.CHANGES)

    def stop(self) -> None:
        """Remove the imported images; the engine stays up."""
        with contextlib.closing(self.client()) as client:
            images.remove_images(client, self._imported)
        self._imported = []

    def client(self, timeout_seconds: float = 60.0) -> APIClient:
        """A new low-level client; the caller closes it."""
        return APIClient(base_url=self.endpoint, timeout=timeout_seconds)  # type: ignore[arg-type]  # a float works

    def log(self) -> str:
        """Not to be had from an offered engine."""
        return f"(the log of the offered engine {self.endpoint} is not the tests' to read)"
