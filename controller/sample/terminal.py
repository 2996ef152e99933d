"""Saying what happens before it happens, running programs, and ending early.

Programs run in sessions of their own, so that Ctrl-C reaches this process alone and it decides what ends when.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType


class SampleUnavailable(Exception):
    """Why it cannot go on, as one sentence for the person at the terminal."""


class Stopped(BaseException):
    """A signal asked us to end; `code` is the exit code that says so."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


def say(sentence: str) -> None:
    """One line to stderr."""
    print(sentence, file=sys.stderr, flush=True)


def ending_with_us(command: Sequence[str]) -> list[str]:
    """The command, such that it gets SIGTERM when this process is killed and cannot stop it itself."""
    return [*(("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()), *command]


def run(
    command: Sequence[str | Path],
    *,
    content: bytes = b"",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 600.0,
) -> str:
    """Run a program to its end with `content` on its stdin and return its stdout, stripped.

    :raises SampleUnavailable: it is not there, took too long, or failed; with its last words.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=content,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            timeout=timeout_seconds,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise SampleUnavailable(f"{words[0]}: {exc}") from exc
    if done.returncode != 0:
        complaint = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise SampleUnavailable(f"`{' '.join(words[:4])}` failed: {complaint}")
    return done.stdout.decode(errors="replace").strip()


def stop_on_signals() -> None:
    """From now on SIGINT and SIGTERM raise `Stopped`."""

    def stop(number: int, _frame: FrameType | None) -> None:
        finish_in_peace()
        raise Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def finish_in_peace() -> None:
    """From now on a signal is answered with a word of patience, so that nothing is left half removed."""

    def wait(_number: int, _frame: FrameType | None) -> None:
        say("Still removing what was started; a moment, please.")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, wait)
