"""`controller.logs`: structured lines that nobody can forge."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from controller.logs import configure_logs, escape_controls


class Written:
    """What has been logged so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    @property
    def text(self) -> str:
        """All of it."""
        self._text += self._capsys.readouterr().err
        return self._text

    @property
    def lines(self) -> list[dict[str, object]]:
        """The JSON of each line."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """What is logged; the set-up of logging is undone in the end."""
    root = logging.getLogger()
    before = root.handlers, root.level, [logging.getLogger(name).level for name in ("controller", "store")]
    yield Written(capsys)
    root.handlers, root.level = before[:2]
    for name, level in zip(("controller", "store"), before[2], strict=True):
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ü 🐋", "plain – ü 🐋"),
        ("a\nb", "a\\nb"),
        ("a\r\tb", "a\\r\\tb"),
        ("\x00", "\\x00"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
    ],
)
def test_control_and_direction_characters_are_made_visible(text: str, shown: str) -> None:
    """O6: neither a line nor a cursor movement can be forged by a label."""
    assert escape_controls(text) == shown


def test_one_json_object_a_line(written: Written) -> None:
    """O6: with level, time and fields."""
    configure_logs("info", "json")
    structlog.get_logger("controller.loop").info("49 seen, 2 new", host="a", seconds=0.1)
    assert len(written.lines) == 1
    line = written.lines[0]
    assert (line["event"], line["level"], line["host"], line["seconds"]) == ("49 seen, 2 new", "info", "a", 0.1)
    assert str(line["timestamp"]).endswith("Z")


def test_hostile_fields_stay_on_their_line(written: Written) -> None:
    """O6, R17: in both forms, in the event as in a field, from our loggers as from others'."""
    hostile = 'x\n{"event": "forged"}\x1b[2J'
    for form in ("json", "console"):
        configure_logs("info", form)
        structlog.get_logger("controller.loop").warning("container ignored", container=hostile, detail=hostile)
        structlog.get_logger("controller.loop").warning(hostile)
        logging.getLogger("somebody.else").warning("said %s", hostile)
    assert len(written.text.splitlines()) == 6
    assert "\x1b" not in written.text


def test_levels(written: Written) -> None:
    """O6: ours as configured, those of others from warning on."""
    configure_logs("debug", "json")
    structlog.get_logger("controller.loop").debug("ours")
    structlog.get_logger("store.index").debug("the store's")
    logging.getLogger("apscheduler").info("theirs")
    logging.getLogger("apscheduler").warning("their warning")
    assert [line["event"] for line in written.lines] == ["ours", "the store's", "their warning"]
    configure_logs("error", "json")
    structlog.get_logger("controller.loop").warning("too quiet")
    assert len(written.lines) == 3


def test_a_traceback_is_part_of_its_line(written: Written) -> None:
    """O6: an exception is logged with its traceback, and still is one line of JSON."""
    configure_logs("info", "json")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        structlog.get_logger("controller.loop").exception("tick failed")
    assert len(written.lines) == 1
    assert "ValueError: first" in str(written.lines[0]["exception"])


def test_configuring_twice_does_not_log_twice(written: Written) -> None:
    """O6: the last set-up replaces the one before."""
    configure_logs("info", "json")
    configure_logs("info", "json")
    structlog.get_logger("controller.loop").info("once")
    assert len(written.lines) == 1


def test_auto_is_json_where_nobody_watches(written: Written) -> None:
    """O6: a terminal gets text, a collector JSON."""
    configure_logs("info", "auto")
    structlog.get_logger("controller.loop").info("to a file")
    assert written.lines[0]["event"] == "to a file"


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_logged_traceback_shows_no_variables(written: Written, form: str) -> None:
    """S4, O6: in no form of the log; the console's own way would show those of every frame."""
    configure_logs("debug", form)
    canary = "canary-77aa01"
    try:
        _fail(canary[::-1])
    except RuntimeError as error:
        structlog.get_logger("controller.test").error("it failed", exc_info=error)
    text = written.text
    assert "RuntimeError: on purpose" in text
    assert canary not in text


def _fail(backwards: str) -> None:
    value = backwards[::-1]
    raise RuntimeError("on purpose" if value else "")
