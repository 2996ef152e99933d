"""`controller.rollout.host_paths`: what of the machine may be mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import VolumeRefused
from controller.rollout.host_paths import allowed_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder whose contents may be mounted, and one beside it that may not."""
    (tmp_path / "srv" / "data").mkdir(parents=True)
    (tmp_path / "srv-not").mkdir()
    return tmp_path / "srv"


def test_what_is_under_a_root_is_allowed(root: Path) -> None:
    """S4: the root itself too; links that stay inside are followed, so that what is mounted is what was looked at."""
    (root / "link").symlink_to(root / "data")
    (root.parent / "alias").symlink_to(root)
    roots = [root.parent / "absent", root.parent / "alias"]
    assert allowed_path(f"{root}/data/", roots) == f"{root}/data"
    assert allowed_path(str(root), roots) == str(root)
    assert allowed_path(f"{root}/link", roots) == f"{root}/data"
    assert allowed_path(f"{root.parent}/alias/data", roots) == f"{root}/data"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("{root}-not", "is not under TALLYD_VOLUME_ROOTS"),
        ("/etc", "is not under TALLYD_VOLUME_ROOTS"),
        ("/", "is not under TALLYD_VOLUME_ROOTS"),
        ("{root}/out", "which leads to '/etc', is not under"),
        ("{root}/out/passwd", "which leads to '/etc/passwd', is not under"),
        ("{root}/../srv-not", "without `..`"),
        ("{root}/data/..", "without `..`"),
        ("srv/data", "has to be absolute"),
        ("", "has to be absolute"),
        ("{root}/data\x00/x", "NUL"),
        ("{root}/absent", "cannot be looked at from here"),
        ("{root}/loop", "cannot be looked at from here"),
    ],
)
def test_what_leads_elsewhere_is_refused(root: Path, path: str, said: str) -> None:
    """S4: by name, by a step back, by a link, or by nobody knowing."""
    (root / "out").symlink_to("/etc")
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(VolumeRefused) as refused:
        allowed_path(path.format(root=root), [root])
    assert said in str(refused.value)


def test_without_a_list_nothing_is_allowed(root: Path) -> None:
    """S4: that is the default."""
    with pytest.raises(VolumeRefused, match="TALLYD_VOLUME_ROOTS names no folder"):
        allowed_path(str(root), [])
