"""`tallyd router`: a router beside the controller, in the foreground."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import structlog
import typer
from filelock import FileLock, Timeout

from controller.cli.context import invocation, told_errors
from controller.clock import CLOCK
from controller.errors import RouterFailed, UsageError
from controller.logs import configure_logs
from controller.rollout.routers.agent import RouterAgent
from controller.rollout.routers.nginx import NginxOptions
from controller.rollout.routers.nginx_process import NginxRouter

log = structlog.get_logger(__name__)


def router(
    context: typer.Context,
    file: Annotated[Path, typer.Option(metavar="FILE", help="The runtime config to follow.")],
    listen: Annotated[str, typer.Option(help="Address for visitors, address:port.")] = "127.0.0.1:8080",
    folder: Annotated[
        Path | None, typer.Option(help="Folder of nginx's own files; default: router, beside the runtime config.")
    ] = None,
    nginx: Annotated[str, typer.Option(help="The nginx program.")] = "nginx",
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="Pass on the X-Forwarded-* of a proxy in front.")
    ] = False,
    drain_seconds: Annotated[
        int, typer.Option(min=1, help="How long requests of an old configuration may take to end.")
    ] = 60,
) -> None:
    """Route visitors to revisions as the runtime config says, with an nginx of its own, until Ctrl-C or SIGTERM."""
    with told_errors():
        settings = invocation(context).settings()
        configure_logs(settings.log_level, settings.log_format)
        options = NginxOptions(listen=parse_listen(listen), behind_proxy=behind_proxy, drain_seconds=drain_seconds)
        proxy = NginxRouter(folder or file.absolute().parent / "router", options, CLOCK.monotonic, program=nginx)
        agent = RouterAgent(file, settings.host, proxy, proxy.folder / "last-good.json")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: agent.stop())
        with _alone(proxy.folder):
            proxy.check_program()
            log.info("router starts", file=str(file), listen=options.listen, folder=str(proxy.folder))
            try:
                agent.run()
            finally:
                proxy.stop()
                agent.leave()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder: two agents would undo each other's work. The kernel's lock ends with whoever holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "agent.lock", timeout=0, fallback_to_soft=False, preserve_lock_file=True)
        with lock:
            yield
    except Timeout as error:
        raise RouterFailed(f"another tallyd router looks after {folder}; give this one another --folder") from error
    except OSError as error:
        raise RouterFailed(f"{folder} cannot be used: {error.strerror or error}") from error


def parse_listen(text: str) -> str:
    """An address and a port as nginx listens on them.

    :raises UsageError: it is none.
    """
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        if not 1 <= int(port) <= 65535 or "%" in host:
            raise ValueError(port)
    except ValueError as error:
        raise UsageError(f"--listen {text!r} is no address; allowed: address:port, [address]:port") from error
    return f"[{address}]:{int(port)}" if address.version == 6 else f"{address}:{int(port)}"
