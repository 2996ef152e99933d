"""`controller.cli.router`: what nginx is told to listen on."""

from __future__ import annotations

import pytest

from controller.cli.router import parse_listen
from controller.errors import UsageError


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("0.0.0.0:08080", "0.0.0.0:8080"),
        ("[::1]:80", "[::1]:80"),
        ("[::]:1", "[::]:1"),
    ],
)
def test_addresses(given: str, told: str) -> None:
    """O1: an IP address and a port."""
    assert parse_listen(given) == told


@pytest.mark.parametrize(
    "given",
    ["", "8080", ":80", "localhost:80", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:80; }", "[fe80::1%lo]:80"],
)
def test_what_is_no_address(given: str) -> None:
    """O1: refused, and nothing of it reaches nginx."""
    with pytest.raises(UsageError, match="is no address"):
        parse_listen(given)
