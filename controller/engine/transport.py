"""docker-py's client, with one connection to the engine at a time.

docker-py keeps a pool for every URL, query included. Then nearly every listing has a connection of its own, and
nothing says that the engine that tells its id is the one that was listed (R18).
"""

from __future__ import annotations

import math
import socket
from typing import Any

from docker import APIClient
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnection, UnixHTTPConnectionPool
from requests import PreparedRequest
from requests.adapters import HTTPAdapter

from controller.engine.endpoint import Endpoint

_ANY_URL = "engine"


class _Connection(UnixHTTPConnection):
    """docker-py's own leaves its socket open where nobody listens."""

    def connect(self) -> None:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(self.timeout)
            opened.connect(self.unix_socket)
        except OSError:
            opened.close()
            raise
        self.sock = opened


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        timeout: Any = self.timeout
        return _Connection(self.base_url, self.socket_path, timeout)


class _OnePoolAdapter(UnixHTTPAdapter):
    def __init__(self, path: str, timeout: int) -> None:
        super().__init__(f"http+unix://{path}", timeout, max_pool_size=1)
        self.pools[_ANY_URL] = _Pool(_ANY_URL, path, timeout, maxsize=1)

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: object, proxies: object = None, cert: object = None
    ) -> Any:
        return super().get_connection(_ANY_URL, proxies)

    def get_connection(self, url: object, proxies: object = None) -> Any:
        return super().get_connection(_ANY_URL, proxies)


def open_session(endpoint: Endpoint, timeout_seconds: float) -> APIClient:
    """A session with the engine; connects with its first request.

    :raises docker.errors.DockerException: the endpoint cannot be used.
    """
    timeout = math.ceil(timeout_seconds)
    # A given version keeps docker-py from asking /version, which hangs while containerd does.
    session = APIClient(base_url=endpoint.url, version="1.24", timeout=timeout, **endpoint.client_options)
    session.trust_env = False  # an HTTP proxy from the environment is not for the engine
    path = endpoint.socket_path
    if path is not None:
        session.mount("http+docker://", _OnePoolAdapter(str(path), timeout))
    elif not endpoint.client_options:
        session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=1))
    return session
