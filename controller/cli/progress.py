"""How a deploy goes, live on a terminal: each step with its seconds, and what a pull says. Plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from controller.logs import escape_controls
from controller.rollout.chain import Step
from controller.rollout.deployer import Revision
from controller.rollout.rollouts import told_step

_REFRESHES_A_SECOND = 8


@dataclass(slots=True)
class _Line:
    said: str
    began: float
    ended: float | None = None


class DeployProgress:
    """Hears of a deploy and shows it on stderr, so that stdout has the data alone."""

    def __init__(self, monotonic: Callable[[], float], console: Console | None = None) -> None:
        self._monotonic = monotonic
        self._console = console or Console(stderr=True, highlight=False)
        self._lines: list[_Line] = []
        self._heading = ""
        self._pulled = ""
        self._failed = False
        self._spinner = Spinner("dots")

    @contextmanager
    def shown(self) -> Iterator[DeployProgress]:
        """While the block lasts. What it raised is marked at the step that it came from."""
        if not self._console.is_terminal:
            yield self
            return
        with Live(self, console=self._console, refresh_per_second=_REFRESHES_A_SECOND):
            try:
                yield self
            except BaseException:  # also by Ctrl-C: the step is marked before the view is drawn for the last time
                self.ended(arrived=False)
                raise

    def chose(self, revision: Revision, made: bool) -> None:
        """Which revision it is."""
        self._heading = f"{'new' if made else 'known'} revision {revision.id}: {revision.image_ref}"
        self._plain(self._heading)

    def told(self, step: Step) -> None:
        """A step begins, so the one before is over."""
        self.ended(arrived=True)
        self._lines.append(_Line(told_step(step), self._monotonic()))
        self._plain(told_step(step))

    def pulled(self, line: str) -> None:
        """What the engine says of a pull; on a terminal alone, where the next line takes its place."""
        self._pulled = escape_controls(line)

    def ended(self, *, arrived: bool) -> None:
        """The step that goes on is over."""
        self._pulled, self._failed = "", not arrived
        if self._lines and self._lines[-1].ended is None:
            self._lines[-1].ended = self._monotonic()

    def _plain(self, text: str) -> None:
        if not self._console.is_terminal:
            typer.echo(escape_controls(text), err=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """For rich: the heading, a line a step, and the pull."""
        if self._heading:
            yield Text(escape_controls(self._heading), style="bold")
        table = Table.grid(padding=(0, 1))
        for each in self._lines:
            failed = self._failed and each is self._lines[-1]
            done = Text("✗", style="red") if failed else Text("✓", style="green")
            seconds = (each.ended or self._monotonic()) - each.began
            mark = self._spinner if each.ended is None else done
            table.add_row(mark, Text(escape_controls(each.said)), Text(f"{seconds:.1f} s", style="dim"))
        yield table
        if self._pulled:
            yield Text(f"    {self._pulled}", style="dim", no_wrap=True, overflow="ellipsis")
