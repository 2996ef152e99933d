"""`tallyd probe`: asks a running controller how it is, for health checks of containers and scripts."""

from __future__ import annotations

from typing import Annotated
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import typer

from controller.cli.context import EXIT_ERROR, EXIT_USAGE, invocation, told_errors

_TIMEOUT_SECONDS = 5.0


def probe(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Argument(help="Address of the controller; default: what TALLYD_LISTEN says.")
    ] = None,
    ready: Annotated[
        bool, typer.Option("--ready/--healthy", help="Whether its index is true, or whether its loop is alive.")
    ] = False,
) -> None:
    """Ask the controller that runs here whether it is healthy or ready. Exits 0 if so, 1 if not."""
    with told_errors():
        host, port = invocation(context).address()
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    base = url or f"http://{reachable}:{port}"
    if not base.startswith(("http://", "https://")):
        typer.secho(f"tallyd: {base!r} is no address; allowed: http://host:port", err=True, fg="red")
        raise typer.Exit(EXIT_USAGE)
    path = "/-/ready" if ready else "/-/healthy"
    try:
        with urlopen(f"{base.rstrip('/')}{path}", timeout=_TIMEOUT_SECONDS) as answer:
            typer.echo(answer.read().decode())
    except HTTPError as error:
        typer.echo(error.read().decode("utf-8", "replace"))
        raise typer.Exit(EXIT_ERROR) from error
    except (URLError, OSError) as error:
        typer.secho(f"tallyd: no answer from {base}{path}: {error}", err=True, fg="red")
        raise typer.Exit(EXIT_ERROR) from error
