"""`controller.labels`: the names of the labels that are read."""

from __future__ import annotations

from controller import labels
from controller.labels import LabelNames


def test_names_under_the_default_prefix() -> None:
    """Labels: as SPEC.md spells them."""
    names = LabelNames()
    assert set(names.own) == {
        "tallyd.workload.id",
        "tallyd.workload.kind",
        "tallyd.role",
        "tallyd.static-site",
        "tallyd.revision",
    }
    assert names.project_prefix == "tallyd-"


def test_names_under_another_prefix() -> None:
    """Labels: all of them move, Compose's own do not."""
    names = LabelNames("com.example.acme")
    assert all(name.startswith("com.example.acme.") for name in names.own)
    assert names.project_prefix == "com.example.acme-"
    compose = {labels.COMPOSE_PROJECT, labels.COMPOSE_SERVICE, labels.COMPOSE_NUMBER, labels.COMPOSE_ONEOFF}
    assert all(name.startswith("com.docker.compose.") for name in compose)
    assert len(compose) == 4
