"""`python -m tests.soak`: thirty minutes of mischief, then the judgement."""

from __future__ import annotations

import argparse
import sys
import time

from tests.harness.components import complaint_about
from tests.soak.run import soak

_NEEDED = ("root", "docker", "docker-cli", "registry", "compose", "busybox")
_HELP = """\
Runs a controller over four workloads (image with a registry trigger, image, Compose, static site) on an engine of its
own, and lets things happen to them at random: kills, stops, pauses, removals, pushed images, edited files, a killed
controller. Then waits until all is quiet and checks that declared and real state agree and no healing budget was
overrun. Progress goes to stderr.
"""


def main() -> int:
    """Run; returns the exit code: 0 nothing is wrong, 1 something is, or is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long things happen (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same things (default: 1)")
    asked = parser.parse_args()
    if complaints := [each for each in map(complaint_about, _NEEDED) if each]:
        print("\n".join(complaints), file=sys.stderr)
        return 1
    began = time.monotonic()
    soaked = soak(60 * asked.minutes, asked.seed, lambda text: _tell(f"{time.monotonic() - began:5.0f} s  {text}"))
    print(", ".join(f"{what} {count}" for what, count in soaked.done.most_common()))
    print(f"{soaked.events} events of history; all agreed {soaked.seconds_to_agree:.0f} s after the last one")
    for each in soaked.problems:
        print(f"WRONG: {each}")
    return 1 if soaked.problems else 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
