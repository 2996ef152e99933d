"""Where the engine is, from the variables that every Docker tool honours (O2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.errors import TLSParameterError
from docker.tls import TLSConfig

from controller.errors import SettingInvalid

DEFAULT_URL = "unix:///var/run/docker.sock"
_TLS_VARIABLES = ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
_ALLOWED = "unix:///path/to/socket, tcp://host:port or http(s)://host:port"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The engine's address. ``client_options`` are keyword arguments of docker-py's low-level client.

    ``variables`` lead a command of Docker's to the same engine.
    """

    url: str
    client_options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket, ``None`` for a remote engine."""
        scheme, _, path = self.url.partition("://")
        return Path(path) if scheme in ("unix", "http+unix") else None


def endpoint_from(environment: Mapping[str, str]) -> Endpoint:
    """The endpoint that ``DOCKER_HOST``, ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH`` name.

    docker-py would follow the command line's current context instead; a daemon must not depend on that.

    :raises SettingInvalid: an address or TLS files that cannot be used.
    """
    url = environment.get("DOCKER_HOST", "").strip() or DEFAULT_URL
    scheme, separator, rest = url.partition("://")
    if not separator or not rest or scheme not in ("unix", "http+unix", "tcp", "http", "https"):
        raise SettingInvalid(f"DOCKER_HOST is {url!r}; allowed: {_ALLOWED}")
    tls = _tls(environment)
    # Docker's own commands know unix:// and tcp:// only.
    told = f"unix://{rest}" if "unix" in scheme else f"tcp://{rest}"
    variables = {"DOCKER_HOST": told} | {each: environment[each] for each in _TLS_VARIABLES if environment.get(each)}
    if scheme in ("unix", "http+unix") or tls is None:
        return Endpoint(url, variables=variables)
    return Endpoint(url.replace("tcp://", "https://", 1), {"tls": tls}, variables)


def _tls(environment: Mapping[str, str]) -> TLSConfig | None:
    verify = environment.get("DOCKER_TLS_VERIFY", "")
    folder = environment.get("DOCKER_CERT_PATH", "")
    if not verify and not folder:
        return None
    certificates = Path(folder) if folder else Path.home() / ".docker"
    try:
        return TLSConfig(
            client_cert=(str(certificates / "cert.pem"), str(certificates / "key.pem")),
            ca_cert=str(certificates / "ca.pem"),
            verify=bool(verify),
        )
    except TLSParameterError as error:
        raise SettingInvalid(
            f"DOCKER_CERT_PATH is {str(certificates)!r}; it must hold cert.pem, key.pem and ca.pem ({error})"
        ) from error
