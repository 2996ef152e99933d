"""The reload webhook on a real port, over a real working tree and its remote, called with curl as the page says."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from fastapi import FastAPI

from controller.declared.gitsync import SyncOutcome
from controller.http.reload import MOST_BODY_BYTES, ReloadAccess, ReloadAnswer, build_reload
from controller.http.server import HttpServer
from tests.docs.markdown import ROOT, blocks, codes, names, section, sections, table
from tests.harness import wait_until
from tests.harness.git import Forge
from tests.integration.trees import KEPT, Tree

RELOAD = "docs/reload.md"
TOKEN = "0123456789abcdef" * 2


class SyncsOnly:
    """What is plugged in where the reload worker is: the sync is real, and there is nothing to rebuild."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def holds(self, commit: str) -> bool:
        return self._tree.working.holds(commit)

    def reload(self, branch: str | None) -> ReloadAnswer:
        report = self._tree.sync(branch)
        changed = report.outcome in (SyncOutcome.FAST_FORWARDED, SyncOutcome.DIVERGED)
        return ReloadAnswer(changed, str(report.outcome), report.detail, report.commit, report.kept_on, 3)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A clone that follows `main`."""
    forge = Forge(tmp_path)
    return Tree(forge, forge.clone("tree"))


@pytest.fixture
def address(tree: Tree) -> Iterator[str]:
    """The URL of a port that serves the webhook."""
    app = FastAPI()
    app.router.routes.extend(build_reload(ReloadAccess((TOKEN,)), SyncsOnly(tree)))
    server = HttpServer("127.0.0.1", 0, lambda: app)
    server.start()
    server.hurry()
    try:
        wait_until(lambda: _exchange(server.url, b"GET / HTTP/1.0\r\n\r\n"), what="the port answers")
        yield server.url
    finally:
        server.stop()


def _exchange(address: str, request: bytes) -> bytes:
    """Send these bytes, without an end; all that comes back until the connection is closed."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=10) as connection:
        connection.sendall(request)
        told = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                told += piece
        return told


def _curl(command: str, address: str, environment: dict[str, str]) -> tuple[int, Any]:
    """Run a command of the page against this port; its exit code, and the answer."""
    here = command.replace("http://127.0.0.1:9477", address)
    done = subprocess.run(
        ["bash", "-c", here], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    return done.returncode, json.loads(done.stdout)


def test_the_call_of_the_page(tree: Tree, address: str, tmp_path: Path) -> None:
    """H5: with curl, as it stands there; the answer has the keys that are shown, in their order."""
    shown = next(each.text for each in blocks(ROOT / RELOAD) if "curl" in each.text)
    command, _, expected = shown.removeprefix("$ ").partition("\n{")
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    wanted = tree.forge.push({"a.yaml": "second"})
    code, told = _curl(command.replace("/etc/tallyd/reload-token", str(secret)), address, tree.forge.environment)
    assert (code, told["outcome"], told["commit"]) == (0, "fast-forwarded", wanted)
    assert list(told) == list(json.loads("{" + expected))


def _script(title: str) -> str:
    text = next(each.text for each in sections(RELOAD) if each.title == title)
    workflow = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S)[1])  # type: ignore[index]
    if title == "GitLab CI":
        return str(workflow["reload"]["script"][0])
    return str(workflow["jobs"]["reload"]["steps"][0]["run"])


@pytest.mark.parametrize(
    ("title", "variables"),
    [
        ("GitHub Actions", {"TOKEN": TOKEN, "GITHUB_SHA": "COMMIT"}),
        ("GitLab CI", {"RELOAD_TOKEN": TOKEN, "CI_COMMIT_SHA": "COMMIT"}),
    ],
)
def test_the_workflows_of_the_page(tree: Tree, address: str, title: str, variables: dict[str, str]) -> None:
    """H4, H5, H8: the step syncs once, and is absorbed when it is run again; a diverged tree is told."""
    tree.commit({"b.yaml": "mine"})
    wanted = tree.forge.push({"a.yaml": "second"})
    environment = tree.forge.environment | {
        name: wanted if value == "COMMIT" else value for name, value in variables.items()
    }
    code, told = _curl(_script(title), address, environment)
    assert (code, told["changed"], told["outcome"], told["kept_on"]) == (0, True, "diverged", KEPT)
    code, told = _curl(_script(title), address, environment)
    assert (code, told) == (0, {"changed": False, "outcome": "already-here", "commit": wanted})
    wrong = environment | {name: "wrong" for name in variables if "TOKEN" in name}
    assert _curl(_script(title), address, wrong)[0] == 22


def test_how_to_get_things_back(tree: Tree) -> None:
    """H5: the commands of the page, on a tree that has diverged."""
    tree.commit({"web.yaml": "mine"})
    tree.forge.push({"a.yaml": "second"})
    tree.sync()
    shown = re.search(r"```\n(.*?)```", section(RELOAD, "What was only here"), re.S)
    assert shown is not None
    for line in shown[1].splitlines()[1:]:
        tree.git(*shlex.split(line.removeprefix("$ git ")))
    assert (tree.files["web.yaml"], tree.kept) == ("mine", [])


def test_every_status_and_outcome_is_on_the_page() -> None:
    """H2 to H6: the tables name what the code answers with, and nothing else."""
    source = Path(build_reload.__code__.co_filename).read_text()
    answered = {(int(status), text) for status, text in re.findall(r'_problem\((\d+), "([^"]+)"', source)}
    answered |= {(500, "restart required"), (500, "previous state serving")}
    rows = [(int(row["Status"]), codes(row["Body"])[0]) for row in table(RELOAD, "The answer")]
    assert {each for each in rows if each[0] != 200} == answered - {(400, "incomplete request")}
    assert set(names(table(RELOAD, "The outcome"), "Outcome")) == {*map(str, SyncOutcome), "already-here", "no-git"}
    assert names(table(RELOAD, "The request"), "Key") == ["branch", "commit"]


HEAD = b"POST /-/reload HTTP/1.1\r\nHost: tallyd\r\n"
RIGHT = HEAD + f"Authorization: Bearer {TOKEN}\r\n".encode()


def test_a_stranger_need_not_send_a_body(address: str) -> None:
    """H2: the answer comes though none of the body that was announced has, and is the same for whatever is wrong."""
    told = {
        _exchange(address, head + length + b"Connection: close\r\n\r\n")
        for head in (HEAD, HEAD + b"Authorization: Bearer wrong\r\n", HEAD + b"Authorization: Basic \xff\xfe\r\n")
        for length in (b"Content-Length: 60000\r\n", b"Transfer-Encoding: chunked\r\n")
    }
    assert len({re.sub(rb"date: [^\r]+", b"", each) for each in told}) == 1
    assert told.pop().startswith(b"HTTP/1.1 401 ")


def test_a_body_without_an_end(tree: Tree, address: str) -> None:
    """H3: refused at the limit, whether it is announced or comes in chunks; and nothing is synced."""
    tree.forge.push({"a.yaml": "second"})
    announced = b"Content-Length: %d\r\n\r\n" % (MOST_BODY_BYTES + 1)
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n" + chunk * (MOST_BODY_BYTES // 0x1000 + 1)
    for rest in (announced, chunked):
        assert _exchange(address, RIGHT + rest).startswith(b"HTTP/1.1 413 ")
    assert tree.files["a.yaml"] == "first"


def test_a_branch_over_the_port(tree: Tree, address: str) -> None:
    """H3: one that the remote does not have is 400 and named; one that it has is checked out."""
    wanted = tree.forge.push({"a.yaml": "next"}, "next")
    for branch, status in (("nxt", b"400"), ("--upload-pack=x", b"400"), ("next", b"200")):
        body = json.dumps({"branch": branch}).encode()
        told = _exchange(address, RIGHT + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert told.split(b" ", 2)[1] == status
    assert (tree.at, tree.working.head()) == ("next", wanted)
