"""The systemd unit: systemd accepts it, and what it puts into the environment is valid."""

from __future__ import annotations

import configparser
import shlex
import subprocess
from pathlib import Path

from controller.settings_sources import load_settings
from tests.chart.components import program
from tests.chart.shipped import ROOT

UNIT = ROOT / "docs/systemd/tallyd.service"
MOST_EXPOSURE = 2.0


class _Repeated(dict[str, str]):
    """A key that stands there again is added, as systemd does with Environment=."""

    def __setitem__(self, key: str, value: str | list[str]) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            value = [*self[key], *value]
        super().__setitem__(key, value)  # type: ignore[assignment]


def service() -> configparser.SectionProxy:
    """The [Service] section."""
    parser = configparser.RawConfigParser(dict_type=_Repeated, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser["Service"]


def analyze(folder: Path, *arguments: str) -> str:
    """systemd-analyze on the unit with a program that this machine has; it must find nothing."""
    copy = folder / "tallyd.service"
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/tallyd/bin/tallyd", "/bin/true"))
    done = subprocess.run(
        [program("systemd-analyze"), *arguments, str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Issue 4.2: `systemd-analyze verify` has nothing to say about docs/systemd/tallyd.service."""
    analyze(tmp_path, "verify", "--man=no")


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    """Issue 4.2, 4.5: least privilege: by systemd's own measure the service is hardly exposed."""
    threshold = str(int(MOST_EXPOSURE * 10))
    analyze(tmp_path, "security", "--offline=yes", "--no-pager", f"--threshold={threshold}")


def test_the_service_tells_when_it_is_ready_and_alive() -> None:
    """Issue 4.2: Type=notify with a watchdog, and a restart whatever happens."""
    assert service()["Type"] == "notify"
    assert service()["NotifyAccess"] == "main"
    assert service()["WatchdogSec"] == "5min"
    assert service()["Restart"] == "always"
    assert shlex.split(service()["ExecStart"]) == ["/opt/tallyd/bin/tallyd", "run"]


def test_the_settings_of_the_unit_are_valid() -> None:
    """O2, issue 4.2: what the unit puts into the environment is read, and the state lies where it may write."""
    assignments = service()["Environment"].split("\n")
    environment = dict(each.split("=", 1) for each in assignments if each)
    settings = load_settings({}, environment).settings
    assert settings.database_url == f"sqlite:////var/lib/{service()['StateDirectory']}/tallyd.db"
    assert str(settings.config) == f"/etc/{service()['ConfigurationDirectory']}/tallyd.yaml"
    assert settings.on_loopback
