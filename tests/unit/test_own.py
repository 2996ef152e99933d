"""`controller.engine.own`: which container this process runs in, as the files of different systems tell it."""

from __future__ import annotations

import pytest

from controller.engine.own import ids_told, is_one_of

ID = "4f" * 32
OTHER = "9a" * 32


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "host_name"),
    [
        (f"12:memory:/docker/{ID}\n0::/docker/{ID}\n", "", "web-1"),
        (f"0::/system.slice/docker-{ID}.scope\n", "", "web-1"),
        ("0::/\n", f"615 600 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/sda rw\n", ""),
        ("0::/\n", f"1 2 0:3 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw - ext4 x rw\n", "web-1"),
        ("0::/\n", "", ID[:12]),
    ],
)
def test_a_container_is_found_out(cgroup: str, mountinfo: str, host_name: str) -> None:
    """S5: control groups of both versions, with and without a namespace; the files that an engine gives; the name."""
    assert is_one_of(ID, ids_told(cgroup, mountinfo, host_name))
    assert not is_one_of(OTHER, ids_told(cgroup, mountinfo, host_name))


def test_a_machine_is_no_container() -> None:
    """S5: though it has the mounts of all its containers."""
    mounts = (
        f"700 30 0:50 / /var/lib/docker/overlay2/{OTHER}/merged rw - overlay overlay rw\n"
        f"701 30 0:51 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n\n"
    )
    assert ids_told("0::/system.slice/tallyd.service\n", mounts, "web-1") == frozenset()
