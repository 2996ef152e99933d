"""`controller.cli.progress`: a deploy as it is seen on a terminal, and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from controller.cli.progress import DeployProgress
from controller.rollout.chain import Shift, Stage, Warm
from store.rollout_records import SplitEntry
from tests.unit.rollouts import revision


class Watch:
    """A clock that is set by hand."""

    seconds = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.seconds


def rendered(progress: DeployProgress) -> list[str]:
    """What a terminal shows, line by line."""
    console = Console(file=io.StringIO(), force_terminal=False, width=80)
    console.print(progress)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_each_step_with_its_seconds() -> None:
    """O1: the one that goes on counts up; a pull is told below it, and only while it lasts."""
    watch = Watch()
    progress = DeployProgress(watch, Console(file=io.StringIO(), force_terminal=True))
    progress.chose(revision(2), True)
    progress.told(Stage(revision(2)))
    progress.pulled("a1b2 Downloading 3MB/9MB\x1b[2J")
    watch.seconds = 1.25
    heading, step, pull = rendered(progress)
    assert heading == "new revision shop-2: shop:2"
    assert step.split() == [step.split()[0], "stage", "shop-2", "1.2", "s"]
    assert pull.strip() == "a1b2 Downloading 3MB/9MB\\x1b[2J"
    progress.told(Warm(revision(2)))
    watch.seconds = 4.0
    progress.told(Shift([SplitEntry("shop-2", 10_000)]))
    progress.ended(arrived=False)
    assert [line.split() for line in rendered(progress)[1:]] == [
        ["✓", "stage", "shop-2", "1.2", "s"],
        ["✓", "warm", "shop-2", "2.8", "s"],
        ["✗", "shift", "traffic:", "shop-2", "100%", "0.0", "s"],
    ]


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """O1: on stderr, one a step, no seconds, nothing of a pull."""
    with DeployProgress(Watch(), Console(file=io.StringIO(), force_terminal=False)).shown() as progress:
        progress.chose(revision(2), False)
        progress.told(Stage(revision(2)))
        progress.pulled("a1b2 Downloading")
        progress.ended(arrived=True)
    assert capsys.readouterr() == ("", "known revision shop-2: shop:2\nstage shop-2\n")


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """O1: NO_COLOR; the marks say the same."""
    for wanted in (True, False):
        if not wanted:
            monkeypatch.setenv("NO_COLOR", "1")
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, color_system="standard", width=80)
        progress = DeployProgress(Watch(), console)
        progress.told(Stage(revision(2)))
        progress.ended(arrived=True)
        console.print(progress)
        assert "✓" in out.getvalue()
        assert ("\x1b[32m" in out.getvalue()) is wanted
