"""Run as a program: forks a child per line of its input, and each child is killed in the middle of a config change.

``python -m tests.contract.config_crasher PATH``; a line is the number of the line of code, of those that store the
config, before which the child gets SIGKILL, and the JSON that it stores. Answers each line with the child's end: a
signal's number, or 0.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from controller.declared import config, config_file, config_text, durable
from controller.declared.config_file import ConfigFile
from tests.builders import NOW

WATCHED = frozenset(each.__file__ for each in (config_file, config_text, durable))


def change(path: Path, number: int, content: dict[str, Any]) -> None:
    """Store the content, and die before that line."""
    lines = itertools.count(1)

    def at_line(_frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line" and next(lines) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return at_line

    def at_call(frame: FrameType, _event: str, _argument: object) -> Any:
        return at_line if frame.f_code.co_filename in WATCHED else None

    store = ConfigFile(path, lambda: NOW)
    sys.settrace(at_call)
    config.set_config(store, content, author="crasher")
    sys.settrace(None)


def main() -> None:
    """Read lines until the end of the input."""
    for line in sys.stdin:
        number, content = line.split(" ", maxsplit=1)
        child = os.fork()
        if child == 0:
            change(Path(sys.argv[1]), int(number), json.loads(content))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
