"""Real git remotes: a bare repository that somebody pushes to, and Debian's smart HTTP server in front of it."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.harness.components import require

CALL_SECONDS = 30.0


class Forge:
    """A bare repository with one commit on `main`, and a clone of somebody who pushes to it."""

    def __init__(self, folder: Path) -> None:
        require("git")
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.path = folder / "remote.git"
        self.author = folder / "author"
        self.run("init", "--quiet", "--bare", "--initial-branch=main", str(self.path), cwd=folder)
        self.run("init", "--quiet", "--initial-branch=main", str(self.author), cwd=folder)
        self.run("remote", "add", "origin", self.url)
        self.push({"a.yaml": "first", "b.yaml": "first"})

    @property
    def url(self) -> str:
        """Where it is cloned from without a server."""
        return f"file://{self.path}"

    @property
    def environment(self) -> dict[str, str]:
        """What git needs; nothing of the tester's own configuration."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GIT_AUTHOR_NAME": "somebody",
            "GIT_AUTHOR_EMAIL": "somebody@localhost",
            "GIT_COMMITTER_NAME": "somebody",
            "GIT_COMMITTER_EMAIL": "somebody@localhost",
        }

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run git, in the clone of whoever pushes unless told otherwise."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.author,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=CALL_SECONDS,
        )
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str | None], cwd: Path | None = None) -> str:
        """Commit what these files hold now (`None`: it goes); the commit."""
        at = cwd or self.author
        for name, text in files.items():
            write(at / name, text)
            self.run("add", "--all", "--force", "--", name, cwd=at)
        self.run("commit", "--quiet", "--allow-empty", "--message", f"changes {', '.join(files)}", cwd=at)
        return self.run("rev-parse", "HEAD", cwd=at)

    def push(self, files: Mapping[str, str | None], branch: str = "main") -> str:
        """Commit and push, by force where that is needed; the commit."""
        commit = self.commit(files)
        self.run("push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{branch}")
        return commit

    def clone(self, name: str, url: str = "", *options: str) -> Path:
        """A working tree that follows `main`."""
        tree = self.folder / name
        self.run("clone", "--quiet", *options, url or self.url, str(tree), cwd=self.folder)
        return tree


def write(path: Path, text: str | None) -> None:
    """Make a file hold this text, with its folders; `None` removes it."""
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class GitHttpServer:
    """`git http-backend` on loopback. It can ask for a password, and can be made to hang."""

    def __init__(self, root: Path, password: str = "") -> None:
        self.program = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip()) / "git-http-backend"
        self.root = root
        self.password = password
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.held = ""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Keep silent."""

            def do_GET(self) -> None:
                with contextlib.suppress(ConnectionError):
                    owner._answer(self)

            do_POST = do_GET  # noqa: N815  # http.server's name

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def url(self, user: str = "") -> str:
        """Of the repository, with `user:password@` where given."""
        at = f"{user}@" if user else ""
        return f"http://{at}127.0.0.1:{self._server.server_port}/remote.git"

    @contextlib.contextmanager
    def hanging(self, held: str) -> Iterator[None]:
        """Inside the block, requests whose path has this in it get no answer; `reached` tells that one has come."""
        self.held = held
        self.reached.clear()
        self.go_on.clear()
        try:
            yield
        finally:
            self.held = ""
            self.go_on.set()

    def close(self) -> None:
        """End it."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if self.held and self.held in request.path:
            self.reached.set()
            self.go_on.wait()
        token = base64.b64encode(f"me:{self.password}".encode()).decode()
        if self.password and request.headers.get("Authorization") != f"Basic {token}":
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="git"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        path, _, query = request.path.partition("?")
        asked = {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": request.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "PATH": os.environ["PATH"],
        }
        # The server's user need not own the repository.
        asked |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        told = subprocess.run([self.program], input=body, env=asked, capture_output=True, check=True).stdout
        head, _, content = told.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        request.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
