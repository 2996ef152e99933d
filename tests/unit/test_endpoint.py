"""`controller.engine.endpoint`: where the engine is."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.engine.endpoint import DEFAULT_URL, Endpoint, endpoint_from
from controller.errors import SettingInvalid


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", DEFAULT_URL),
        ("  ", DEFAULT_URL),
        ("unix:///run/user/1000/podman.sock", "unix:///run/user/1000/podman.sock"),
        ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
        ("http://proxy:2375", "http://proxy:2375"),
        (" unix:///x.sock\n", "unix:///x.sock"),
    ],
)
def test_docker_host(host: str, url: str) -> None:
    """O2: `DOCKER_HOST` is honoured; without it the default socket."""
    assert endpoint_from({"DOCKER_HOST": host}) == Endpoint(url)
    assert endpoint_from({}) == Endpoint(DEFAULT_URL)


@pytest.mark.parametrize(
    "host", ["/var/run/docker.sock", "unix://", "ssh://host", "npipe:////./pipe", "10.0.0.1:2375"]
)
def test_an_address_that_cannot_be_used(host: str) -> None:
    """O2: the value and what is allowed are told."""
    with pytest.raises(SettingInvalid) as refused:
        endpoint_from({"DOCKER_HOST": host})
    assert repr(host) in str(refused.value)
    assert "unix:///path/to/socket, tcp://host:port" in str(refused.value)


def test_socket_path() -> None:
    """O1: `doctor` looks at the socket's file, where there is one."""
    assert Endpoint("unix:///run/docker.sock").socket_path == Path("/run/docker.sock")
    assert Endpoint("http+unix:///run/docker.sock").socket_path == Path("/run/docker.sock")
    assert Endpoint("tcp://10.0.0.1:2375").socket_path is None


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder as `DOCKER_CERT_PATH` names one."""
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(("verify", "verified"), [("1", True), ("", False)])
def test_tls(certificates: Path, verify: str, verified: bool) -> None:
    """O2: the TLS variables are honoured, and make tcp https."""
    environment = {
        "DOCKER_HOST": "tcp://10.0.0.1:2376",
        "DOCKER_CERT_PATH": str(certificates),
        "DOCKER_TLS_VERIFY": verify,
    }
    endpoint = endpoint_from(environment)
    tls = endpoint.client_options["tls"]
    assert endpoint.url == "https://10.0.0.1:2376"
    assert tls.cert == (str(certificates / "cert.pem"), str(certificates / "key.pem"))
    assert (tls.ca_cert, tls.verify) == (str(certificates / "ca.pem"), verified)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", DEFAULT_URL),
        ("http+unix:///x.sock", "unix:///x.sock"),
        ("http://proxy:2375", "tcp://proxy:2375"),
        ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
    ],
)
def test_dockers_own_commands_are_led_to_the_same_engine(url: str, told: str) -> None:
    """O2: in the form that they take."""
    assert endpoint_from({"DOCKER_HOST": url}).variables == {"DOCKER_HOST": told}


def test_tls_is_not_for_a_socket(certificates: Path) -> None:
    """O2: the variables may be set for other tools."""
    assert endpoint_from({"DOCKER_CERT_PATH": str(certificates)}) == Endpoint(DEFAULT_URL)


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    """O2: the folder and the files that it must hold are told."""
    with pytest.raises(SettingInvalid, match=r"cert\.pem, key\.pem and ca\.pem"):
        endpoint_from({"DOCKER_HOST": "tcp://x:1", "DOCKER_CERT_PATH": str(tmp_path)})
