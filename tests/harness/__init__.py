"""Real components for the tests: a Docker engine, containers, Compose, PostgreSQL, and waiting.

Everything here is private to one test run, leaves nothing behind, and never skips: a component that
is not installed fails the test with one sentence that says what to install.
"""

from __future__ import annotations

from tests.harness.components import require
from tests.harness.compose import SAMPLE_STACK, ComposeStack
from tests.harness.containers import World
from tests.harness.engine import PrivateEngine
from tests.harness.images import BUSYBOX, LABELLED, NGINX
from tests.harness.offered import Engine, OfferedEngine
from tests.harness.postgres import PrivatePostgres
from tests.harness.registry import PrivateRegistry
from tests.harness.waiting import wait_until

__all__ = [
    "BUSYBOX",
    "LABELLED",
    "NGINX",
    "SAMPLE_STACK",
    "ComposeStack",
    "Engine",
    "OfferedEngine",
    "PrivateEngine",
    "PrivatePostgres",
    "PrivateRegistry",
    "World",
    "require",
    "wait_until",
]
