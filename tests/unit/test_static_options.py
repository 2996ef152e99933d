"""What can be declared of a site, and what is refused in words."""

from __future__ import annotations

from typing import Any

import pytest

from controller.plugins.contract import PluginConfigInvalid
from controller.plugins.sources.static import StaticSource
from controller.plugins.sources.static_options import declared_options_of
from controller.plugins.sources.static_server import configuration_of

GIT = {"url": "https://git.example/blog.git"}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "give either directory or git"),
        ({"directory": "a", "git": GIT}, "give either directory or git"),
        ({"directory": "a", "folder": "b"}, "folder"),
        ({"directory": "a", "publish_port": 80}, "publish_port is given without publish_address"),
        ({"directory": "a", "memory": "1m"}, "less than 6m"),
        ({"directory": "a", "root": "/srv/../etc"}, "without `..`"),
        ({"directory": "a", "root": "/"}, "root"),
        ({"directory": "a", "command": ["x"], "spa": True}, "index and spa are told to our own nginx"),
        ({"directory": "a", "index": "a;b"}, "index"),
        ({"directory": "a", "max_bytes": "much"}, "is no size"),
        ({"directory": "a", "labels": {"com.docker.compose.project": "x"}}, "is Compose's own"),
        ({"directory": "a", "frozen": {"digest": "sha256:" + "0" * 64, "files": 1, "bytes": 1}}, "tallyd writes it"),
        ({"git": {"url": "ext::sh -c id"}}, "allowed: https://"),
        ({"git": {"url": "--upload-pack=id"}}, "allowed: https://"),
        ({"git": {"url": "https://me:secret@git.example/x"}}, "no user and password in a URL"),
        ({"git": {**GIT, "ref": "--force"}}, "ref"),
        ({"git": {**GIT, "ref": "a..b"}}, "the name of a branch"),
        ({"git": {**GIT, "path": "../x"}}, "relative to the root of the repository"),
        ({"git": {**GIT, "path": "/x"}}, "relative to the root of the repository"),
    ],
)
def test_what_is_refused(config: dict[str, Any], told: str) -> None:
    """S2: the key, the value, and what is allowed."""
    with pytest.raises(PluginConfigInvalid, match=told.replace("(", r"\(")):
        StaticSource().validate(config)


@pytest.mark.parametrize(
    "url",
    ["https://git.example/a/b.git", "ssh://git@git.example:22/a", "git@git.example:a/b.git", "file:///srv/a.git"],
)
def test_urls_that_are_allowed(url: str) -> None:
    """S2: in the shapes that people write."""
    assert declared_options_of({"git": {"url": url}}).source == "git"


def test_the_configuration_asks_for_a_file_once() -> None:
    """S1: what asks first and opens then would ask one release and answer from the next."""
    plain = configuration_of(declared_options_of({"directory": "a"}))
    assert "try_files" not in plain
    assert "error_page 404 /404.html;" in plain
    spa = configuration_of(declared_options_of({"directory": "a", "spa": True, "index": "app.html"}))
    assert "error_page 404 =200 /app.html;" in spa
    assert "index app.html;" in spa


def test_the_ports_of_our_server_differ() -> None:
    """D8: also where somebody takes the one that is ours."""
    assert declared_options_of({"directory": "a"}).preview_port == 8079
    assert declared_options_of({"directory": "a", "port": 8079}).preview_port == 8078
    assert declared_options_of({"directory": "a", "command": ["x"]}).preview_port == 0
