"""The root of the command line: global flags, and where each command lives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import typer

from controller import __version__
from controller.cli.context import Invocation
from controller.cli.lazy import LazyGroup

_PLACES = {
    "run": "run:run",
    "tick": "index:tick",
    "plan": "index:plan",
    "ps": "ps:ps",
    "explain": "index:explain",
    "conformance": "conformance:conformance",
    "doctor": "doctor:doctor",
    "migrate": "doctor:migrate",
    "deploy": "deploy:deploy",
    "events": "history:events",
    "why": "history:why",
    "hold": "holds:hold",
    "release": "holds:release",
    "holds": "holds:holds",
    "promote": "chains:promote",
    "teardown": "chains:teardown",
    "rollback": "deploy:rollback",
    "schema": "schema:schema",
    "probe": "probe:probe",
    "router": "router:router",
    "workload": "workloads:app",
    "revision": "rollout:revisions_app",
    "split": "rollout:splits_app",
    "secrets": "secrets:app",
    "trigger": "triggers:app",
    "host": "hosts:app",
    "config": "config:app",
}


class Root(LazyGroup):
    """All commands, by where they live in this package."""

    places: ClassVar = {name: f"controller.cli.{place}" for name, place in _PLACES.items()}


app = typer.Typer(
    name="tallyd",
    cls=Root,
    help="Keep a true SQL index of this Docker host's containers, and bring workloads back to what was declared.",
    epilog="Start with: tallyd doctor, tallyd run. Each flag is also TALLYD_<NAME> and TALLYD_<NAME>_FILE.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tallyd {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="This engine's name in the store.")] = None,
    database_url: Annotated[str | None, typer.Option(help="sqlite:////file.db or postgresql://…")] = None,
    config: Annotated[Path | None, typer.Option(help="Controller config, a YAML or JSON file of settings.")] = None,
    label_prefix: Annotated[str | None, typer.Option(help="Prefix of the labels that are read.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, console or json.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Global flags."""
    context.obj = Invocation(
        {
            "host": host,
            "database_url": database_url,
            "config": config,
            "label_prefix": label_prefix,
            "log_level": log_level,
            "log_format": log_format,
        }
    )
    if context.invoked_subcommand == "probe":
        return  # logs nothing, and is run every few seconds
    from controller.logs import configure_logs

    configure_logs(log_level if log_level in ("debug", "info", "error") else "warning", log_format or "auto")


def main() -> None:
    """Entry point of the console script."""
    app()
