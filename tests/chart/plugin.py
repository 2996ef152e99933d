"""A pytest plugin, so that all tests of one run share one build: `pytest_plugins = ["tests.chart.plugin"]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.shipped import BASE, IMAGE, Shipped, base_archive, build, docker, fill_context
from tests.harness import PrivateEngine


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """The image of this working tree, on an engine of its own."""
    context = tmp_path_factory.mktemp("context")
    fill_context(context)
    base = base_archive()
    engine = PrivateEngine()
    engine.start()
    try:
        imported = docker(engine, "import", str(base), BASE)
        assert imported.returncode == 0, imported.stderr
        built = build(engine, context, "--build-arg", f"BASE_IMAGE={BASE}", "--build-arg", "REVISION=abc123")
        assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
        yield Shipped(engine, IMAGE, built.stdout, context)
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def image_archive(shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image as `docker save` writes it, for another engine."""
    path = tmp_path_factory.mktemp("image") / "tallyd.tar"
    saved = shipped.docker("save", "--output", str(path), IMAGE)
    assert saved.returncode == 0, saved.stderr
    return path
