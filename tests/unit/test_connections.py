"""`controller.engine.connections`: what the kernel's table says, and when it is not ours to read. No engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.engine.connections import count_connections

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTENS, ESTABLISHED, FIN_WAIT2, CLOSE_WAIT, TIME_WAIT = "0A", "01", "05", "08", "06"
ANY4, US4, PEER4, LOOP4 = "00000000", "020011AC", "010011AC", "0100007F"
MAPPED_PEER, MAPPED_LOOP = "0000000000000000FFFF0000010011AC", "0000000000000000FFFF00000100007F"
ANY6, LOOP6 = "0" * 32, "00000000000000000000000001000000"
CONTAINER = "c" * 64


def table(*sockets: tuple[str, int, str, str]) -> str:
    """Lines as the kernel writes them: our address, our port, the peer's address, the state."""
    lines = [f"   {n}: {ours}:{port:04X} {peer}:9C40 {state} 00000000:00000000 00:00000000 0 0 0 1 0"
             for n, (ours, port, peer, state) in enumerate(sockets)]  # fmt: skip
    return HEADER + "".join(f"{each}\n" for each in lines)


def counted(tmp_path: Path, tcp: str, tcp6: str = "", cgroup: str = CONTAINER, **said: Any) -> int | None:
    """What is counted for a container whose process is number 7."""
    process = tmp_path / "7"
    (process / "net").mkdir(parents=True)
    (process / "cgroup").write_text(f"0::/system.slice/docker-{cgroup}.scope\n")
    (process / "net" / "tcp").write_text(tcp)
    if tcp6:
        (process / "net" / "tcp6").write_text(tcp6)
    return count_connections(
        {"Id": CONTAINER, "State": {"Pid": 7}, "HostConfig": {"NetworkMode": "bridge"}, **said}, tmp_path
    )


def test_connections_from_outside_to_what_is_listened_on(tmp_path: Path) -> None:
    """D8: those in use; not those that it made itself, its health check's, and those that are over."""
    four = table(
        (ANY4, 8080, ANY4, LISTENS),
        (US4, 8080, PEER4, ESTABLISHED),
        (US4, 8080, PEER4, CLOSE_WAIT),
        (US4, 8080, PEER4, FIN_WAIT2),
        (US4, 8080, PEER4, TIME_WAIT),
        (US4, 40_000, PEER4, ESTABLISHED),
        (LOOP4, 8080, LOOP4, ESTABLISHED),
    )
    six = table(
        (ANY6, 9090, ANY6, LISTENS),
        (MAPPED_PEER, 9090, MAPPED_PEER, ESTABLISHED),
        (MAPPED_LOOP, 9090, MAPPED_LOOP, ESTABLISHED),
        (LOOP6, 9090, LOOP6, ESTABLISHED),
    )
    assert counted(tmp_path, four, six) == 3


def test_nobody_is_connected(tmp_path: Path) -> None:
    """D8: a number, and it is 0."""
    assert counted(tmp_path, table((ANY4, 8080, ANY4, LISTENS))) == 0


@pytest.mark.parametrize(
    "said",
    [
        {"HostConfig": {"NetworkMode": "host"}},
        {"HostConfig": {"NetworkMode": "container:abc"}},
        {"State": {"Pid": 8}},
        {"State": {"Pid": 0}},
        {"State": None},
        {"Id": ""},
        {"Id": "d" * 64},
    ],
)
def test_what_cannot_be_seen_is_not_none_at_all(tmp_path: Path, said: dict[str, Any]) -> None:
    """D8: a shared namespace, no such process, or a process that is somebody else's here."""
    assert counted(tmp_path, table((US4, 8080, PEER4, ESTABLISHED)), **said) is None
