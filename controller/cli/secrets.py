"""`tallyd secrets …`: values that only containers see. No value is ever an argument, or printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli.context import EXIT_ERROR, Format, Invocation, Output, actor_here, invocation, told_errors
from controller.cli.render import age, emit, show, table_of
from controller.clock import CLOCK
from controller.errors import SecretInvalid
from controller.keyring import generate_key as new_key
from controller.rollout.secrets import LONGEST_BYTES, Secrets
from controller.views import secret_view
from store.database import Database

app = typer.Typer(no_args_is_help=True, help="Store values that only the containers of a workload see.")

WorkloadId = Annotated[str, typer.Argument(metavar="WORKLOAD")]
Name = Annotated[str, typer.Argument(metavar="NAME")]

_COLUMNS = (
    ("WORKLOAD", "workload_id"),
    ("NAME", "name"),
    ("GEN", "generation"),
    ("AGE", "age"),
    ("READABLE", "readable"),
)


@app.command("set")
def set_(
    context: typer.Context,
    workload_id: WorkloadId,
    name: Name,
    from_file: Annotated[
        Path | None, typer.Option(help="Read the value from this file; default: stdin, or a prompt on a terminal.")
    ] = None,
) -> None:
    """Store a value, encrypted; the next deploy uses it. One line break at its end does not belong to it.

    tallyd secrets set shop DB_PASSWORD < password.txt
    """
    called = invocation(context)
    with told_errors():
        value = _value(from_file, name)
        with called.store() as database:
            stored = _secrets(called, database).put(workload_id, name, value, CLOCK.now())
    typer.echo(f"secret {name} of workload {workload_id} has generation {stored.generation}; deploy to use it")


@app.command("list")
def list_(
    context: typer.Context,
    workload_id: Annotated[str | None, typer.Argument(metavar="WORKLOAD")] = None,
    output: Format = Output.TABLE,
) -> None:
    """List names, generations and ages, and whether each value can be decrypted. Values are never shown."""
    called = invocation(context)
    with told_errors(), called.existing_store() as database:
        found = _secrets(called, database).seen(workload_id)
        views = [secret_view(each, seen.trouble, CLOCK.now()) for each, seen in found]
    if output is Output.TABLE:
        rows: list[dict[str, Any]] = [
            each | {"age": age(each["age_seconds"]), "readable": "yes" if each["readable"] else "no"}
            for each in views
        ]
        show(table_of(rows, _COLUMNS))
    else:
        emit(views, output)


@app.command()
def delete(context: typer.Context, workload_id: WorkloadId, name: Name) -> None:
    """Forget a value. Containers that have it keep it; none is made with it any more."""
    called = invocation(context)
    with told_errors(), called.store() as database:
        _secrets(called, database).delete(workload_id, name, CLOCK.now())
    typer.echo(f"secret {name} of workload {workload_id} is deleted")


@app.command()
def rotate(context: typer.Context) -> None:
    """Encrypt all values anew, with the first key of the file; afterwards the older keys may be taken out of it.

    What no key can decrypt is named and stays as it is; the others are rotated, and the command exits 1.
    """
    called = invocation(context)
    with told_errors(), called.store() as database:
        became = _secrets(called, database).rotate(CLOCK.now())
    typer.echo(f"{len(became.done)} secret(s) encrypted with the first key")
    for each in became.unreadable:
        told = f"secret {each.name} of workload {each.workload_id} cannot be decrypted, and stays as it is"
        typer.secho(f"tallyd: {told}; add its key, or set it anew", err=True, fg="red")
    if became.unreadable:
        raise typer.Exit(EXIT_ERROR)


@app.command("generate-key")
def generate_key() -> None:
    """Print a new key, for a line of the file that TALLYD_SECRETS_KEY_FILE names."""
    typer.echo(new_key())


def _secrets(called: Invocation, database: Database) -> Secrets:
    return Secrets(database, called.settings().secrets_key_file, actor_here())


def _value(from_file: Path | None, name: str) -> str:
    """The value, without the line break that editors and `echo` put at its end.

    :raises SecretInvalid: it cannot be read, or is no text.
    """
    try:
        if from_file is not None:
            with from_file.open("rb") as file:
                given = file.read(LONGEST_BYTES + 3)
        elif sys.stdin.isatty():
            return str(typer.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True))
        else:
            given = sys.stdin.buffer.read(LONGEST_BYTES + 3)
    except OSError as error:
        raise SecretInvalid(f"the value of secret {name!r} cannot be read: {error.strerror}") from error
    try:
        return given.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretInvalid(f"the value of secret {name!r} is not text; encode it, for example as base64") from None
