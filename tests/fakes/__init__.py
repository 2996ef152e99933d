"""The project's only fake: a Docker engine in memory, behind a real Unix socket.

The client under test is always the real one. `contract/test_engine_contract.py` holds the fake to a real engine.
"""

from __future__ import annotations

from tests.fakes.docker import FakeDocker
from tests.fakes.faults import Fault
from tests.fakes.world import FakeWorld

__all__ = ["FakeDocker", "FakeWorld", "Fault"]
