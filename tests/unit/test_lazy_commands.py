"""A command imports what it uses itself; the tree of commands is whole all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

from controller.cli.main import app

SERVER = ("fastapi", "uvicorn", "apscheduler", "alembic", "prometheus_client", "watchfiles", "cryptography")
ENGINE = ("docker", "requests")
STORE = ("sqlalchemy", "sqlmodel")
FOR_PEOPLE = ("rich", "structlog")


@pytest.mark.parametrize(
    ("command", "spared"),
    [
        ("probe", (*SERVER, *ENGINE, *STORE, *FOR_PEOPLE)),
        ("ps", (*SERVER, *ENGINE)),
        ("deploy", SERVER),
        ("run", ("fastapi", "alembic", "cryptography")),
    ],
)
def test_a_command_loads_what_it_uses(command: str, spared: tuple[str, ...]) -> None:
    """O1: looked up as the command line does it, in a process of its own."""
    program = (
        "import sys; from typer.main import get_command; from controller.cli.main import app; "
        f"get_command(app).commands[{command!r}]; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout.split()
    assert set(loaded) & set(spared) == set()
    assert "controller.cli.main" in loaded


def test_every_command_is_found_by_its_name() -> None:
    """O1: no place is wrong, and a command says its own name."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert len(commands) == len({*commands}) > 20
    assert {name: commands[name].name for name in commands} == {name: name for name in commands}
    assert "tock" not in commands
