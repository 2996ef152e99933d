"""The root of the command line: global flags, and where each command lives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller import __version__
from controller.cli import (
    chains,
    conformance,
    deploy,
    doctor,
    history,
    holds,
    hosts,
    index,
    probe,
    rollout,
    router,
    run,
    schema,
    secrets,
    triggers,
    workloads,
)
from controller.cli import config as config_commands
from controller.cli.context import Invocation
from controller.logs import configure_logs

app = typer.Typer(
    name="tallyd",
    help="Keep a true SQL index of this Docker host's containers, and bring workloads back to what was declared.",
    epilog="Start with: tallyd doctor, tallyd run. Each flag is also TALLYD_<NAME> and TALLYD_<NAME>_FILE.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(workloads.app, name="workload")
app.add_typer(rollout.revisions_app, name="revision")
app.add_typer(rollout.splits_app, name="split")
app.add_typer(secrets.app, name="secrets")
app.add_typer(triggers.app, name="trigger")
app.add_typer(hosts.app, name="host")
app.add_typer(config_commands.app, name="config")
for command in (
    run.run,
    index.tick,
    index.plan,
    index.ps,
    index.explain,
    conformance.conformance,
    doctor.doctor,
    doctor.migrate,
    deploy.deploy,
    history.events,
    history.why,
    holds.hold,
    holds.release,
    holds.holds,
    chains.promote,
    chains.teardown,
    deploy.rollback,
    schema.schema,
    probe.probe,
    router.router,
):
    app.command()(command)


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
    configure_logs(log_level if log_level in ("debug", "info", "error") else "warning", log_format or "auto")


def main() -> None:
    """Entry point of the console script."""
    app()
