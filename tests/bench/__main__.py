"""`python -m tests.bench`: measure the speed promises, and print one table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from tests.bench.page import renew, table_of
from tests.bench.plots import draw
from tests.bench.run import ROWS, Measured, run
from tests.bench.scale import QUICK, WHOLE
from tests.harness.components import complaint_about

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_NEEDED = ("root", "docker", "docker-cli", "iproute2", "busybox", "postgres", "nginx", "wrk")

_HELP = """\
Measures P1 to P9, the promises about speed, each as a ratio to the floor or beside its peers of the same run, and T6,
deploys under load.

Starts a Docker engine and a PostgreSQL of its own (so: as root) and removes them afterwards; an engine that
already runs on this machine is not touched. The floor is the bare GET /containers/json?all=1 of the same engine at
the same moment, measured in turns with what is compared to it, so a slow machine slows both. The table goes to
stdout, progress to stderr.
"""
_EXAMPLES = """\
examples:
  python -m tests.bench --quick              all rows, small: about five minutes
  python -m tests.bench --only P1,P2         two rows, whole: about three minutes
  python -m tests.bench --write              all rows, and docs/performance.md with its plots
"""


def main() -> int:
    """Run; returns the exit code: 0 measured (targets missed or not), 1 something is missing or failed, 2 usage."""
    asked = _parse()
    complaints = [each for each in map(complaint_about, _NEEDED) if each]
    if complaints:
        print("\n".join(complaints), file=sys.stderr)
        return 1
    scale = QUICK if asked.quick else WHOLE
    began = time.monotonic()
    measured = run(scale, asked.only, lambda text: _tell(f"{time.monotonic() - began:5.0f} s  {text}"))
    Console(width=None if sys.stdout.isatty() else 200).print(table_of(measured.in_order))
    if measured.failed:
        _tell(f"not whole, and so not written: {'; '.join(measured.failed)}")
        return 1
    if asked.write:
        _write(measured, scale.name)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer containers, repetitions and seconds")
    parser.add_argument("--only", type=_rows, default=ROWS, metavar="P1,P4", help="these rows; all without it")
    parser.add_argument(
        "--write", action="store_true", help="renew docs/performance.md and its plots; needs all rows"
    )
    asked = parser.parse_args()
    if asked.write and asked.only != ROWS:
        parser.error("--write needs all rows, or the page would lose the others: leave --only out")
    return asked


def _rows(text: str) -> tuple[str, ...]:
    rows = tuple(each.strip().upper() for each in text.split(","))
    unknown = [each for each in rows if each not in ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is no row; allowed: {', '.join(ROWS)}")
    return rows


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(measured: Measured, scale: str) -> None:
    draw(PAGE.parent / "performance", measured.points, measured.lags)
    renew(PAGE, measured.in_order, scale)
    _tell(f"written: {PAGE.relative_to(PAGE.parents[1])}")


if __name__ == "__main__":
    sys.exit(main())
