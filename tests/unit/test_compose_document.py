"""What a revision keeps of a Compose file, and what is run of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.plugins.contract import PluginConfigInvalid
from controller.plugins.sources.compose_document import (
    PROJECT_MARK,
    document_from,
    followed_files,
    jobs_of,
    mark_of,
    runnable,
    secret_variables,
    services_of,
    specs_of,
)
from controller.plugins.sources.compose_options import ComposeOptions, declared_options_of, options_of

INLINE: Mapping[str, Any] = {"inline": {"services": {"web": {"image": "web:1"}}}}


def _options(**more: Any) -> ComposeOptions:
    return options_of({**INLINE, **more})


def _resolved(text: str, options: ComposeOptions | None = None) -> dict[str, Any]:
    return document_from(text, options or _options())


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "give files"),
        ({"files": ["compose.yaml"]}, "directory, which is not given"),
        ({**INLINE, "files": ["compose.yaml"], "directory": "x"}, "exclude each other"),
        ({"directory": "x", "files": ["/etc/passwd"]}, "leads out of"),
        ({"directory": "x", "files": ["-"]}, "leads out of"),
        ({**INLINE, "env": {"A=B": "c"}}, "pattern"),
        ({**INLINE, "profiles": ["--help"]}, "pattern"),
        ({**INLINE, "jobs": ["-x"]}, "pattern"),
        ({**INLINE, "strategy": "blue-green"}, "a Compose project exists once"),
        ({**INLINE, "strategy": "canary"}, "recreate"),
        ({**INLINE, "frozen": {}}, "tallyd writes it"),
        ({**INLINE, "imagee": "x"}, "imagee"),
        ({**INLINE, "web": {"service": "web", "port": 0}}, "port"),
    ],
)
def test_options_that_cannot_be(config: Mapping[str, Any], told: str) -> None:
    """S2: each is refused with its reason; nothing that would be an option of Compose's command gets through."""
    with pytest.raises(PluginConfigInvalid, match=told):
        declared_options_of(config)


def test_a_secret_is_kept_as_its_variable() -> None:
    """S4: what Compose put in for it becomes the variable again, to be put in when it runs; the rest is as it was."""
    options = _options(env={"TOKEN": {"secret": "x"}, "TAG": "1"})
    text = f"services: {{web: {{image: 'web:1', environment: {{A: 'a{mark_of('TOKEN')}b$$c'}}}}}}"
    assert _resolved(text, options)["services"]["web"]["environment"] == {"A": "a${TOKEN}b$$c"}


def test_the_name_of_the_project_is_not_kept() -> None:
    """D6: `docker compose config` writes it everywhere; another name that somebody gave stays."""
    text = yaml.safe_dump(
        {
            "name": PROJECT_MARK,
            "services": {"web": {"image": "web:1"}},
            "networks": {"default": {"name": f"{PROJECT_MARK}_default"}},
            "volumes": {"data": {"name": f"{PROJECT_MARK}_data"}, "shared": {"name": "shared", "external": True}},
        }
    )
    kept = _resolved(text)
    assert "name" not in kept
    assert kept["networks"] == {"default": {}}
    assert kept["volumes"] == {"data": {}, "shared": {"name": "shared", "external": True}}


def test_services_of_other_profiles_do_not_count() -> None:
    """S1: neither for being up nor as jobs."""
    services = {"web": {"image": "a"}, "later": {"image": "b", "profiles": ["x"]}}
    assert set(services_of({"services": services}, [])) == {"web"}
    assert set(services_of({"services": services}, ["x"])) == {"web", "later"}


def test_jobs_are_named_or_waited_for() -> None:
    """S1: a service that another waits for to be completed is one."""
    waits = {"migrate": {"condition": "service_completed_successfully"}, "db": {"condition": "service_healthy"}}
    services = {"web": {"image": "a", "depends_on": waits}, "migrate": {}, "db": {}, "seed": {}}
    assert jobs_of({"services": services}, _options(jobs=["seed"])) == {"migrate", "seed"}


def _specs(followed: Mapping[str, str] | None = None, **change: Any) -> dict[str, str]:
    document = {
        "services": {
            "web": {"image": "web:1", "networks": {"front": None}, "volumes": ["/site:/site:ro"]} | change,
            "db": {"image": "db:1"},
        },
        "networks": {"front": {"driver": "bridge"}},
    }
    return specs_of(document, _options(), followed or {})


@pytest.mark.parametrize(
    "changed", [_specs(image="web:2"), _specs({"/site": "another"}), _specs(networks={"back": None})]
)
def test_a_service_is_new_when_what_it_is_made_of_is(changed: Mapping[str, str]) -> None:
    """S3: and the other one is not."""
    assert changed["web"] != _specs()["web"]
    assert changed["db"] == _specs()["db"]


def test_what_is_run_has_each_service_labelled() -> None:
    """S3: beside the labels that were declared, in whichever form."""
    document = {"services": {"web": {"labels": ["a=b=c", "d"]}, "db": {}}}
    made = json.loads(runnable(document, {"web": {"tallyd.spec": "1"}, "db": {"tallyd.spec": "2"}}))
    assert made["services"]["web"]["labels"] == {"a": "b=c", "d": "", "tallyd.spec": "1"}
    assert made["services"]["db"]["labels"] == {"tallyd.spec": "2"}


def test_variables_with_a_secret_in_them_are_known() -> None:
    """S4: whatever stands beside it, in either form of Compose's; no others."""
    given = {"A": "${TOKEN}", "B": "x${TOKEN}y", "C": "${TAG}", "D": None}
    listed = [f"{name}={value}" for name, value in given.items()]
    assert secret_variables({"environment": given}, ["TOKEN"]) == ["A", "B"]
    assert secret_variables({"environment": listed}, ["TOKEN"]) == ["A", "B"]
    assert secret_variables({}, ["TOKEN"]) == []


def test_mounted_files_are_followed_and_data_is_not(tmp_path: Path) -> None:
    """S3: files, and folders that are read-only; not what a service writes to, nor what lies elsewhere."""
    for each in ("conf", "data"):
        (tmp_path / each).mkdir()
        (tmp_path / each / "a").write_text("1")
    (tmp_path / "one").write_text("1")
    mounts = [f"{tmp_path}/one:/one", f"{tmp_path}/conf:/conf:ro", f"{tmp_path}/data:/data", "/etc/hosts:/h:ro"]
    long = {"type": "bind", "source": f"{tmp_path}/data", "target": "/again", "read_only": True}
    document = {"services": {"web": {"volumes": mounts}}}
    before = followed_files(document, str(tmp_path))
    assert set(before) == {f"{tmp_path}/one", f"{tmp_path}/conf"}
    assert set(followed_files({"services": {"web": {"volumes": [long]}}}, str(tmp_path))) == {f"{tmp_path}/data"}
    (tmp_path / "conf" / "a").write_text("2")
    after = followed_files(document, str(tmp_path))
    assert {path for path in before if before[path] != after[path]} == {f"{tmp_path}/conf"}
