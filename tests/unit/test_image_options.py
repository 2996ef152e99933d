"""`controller.plugins.sources.image_options`: what may be declared, and what is said of the rest."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from controller.plugins.contract import Deployer, Deployment, PluginConfigInvalid, Source, VerbFailed
from controller.plugins.sizes import bytes_of
from controller.plugins.sources.image import ImageSource
from controller.plugins.sources.image_options import seconds_of
from tests.builders import HOST
from tests.unit.rollouts import SHOP, revision

LEAST = {"image": "shop:1"}


def test_it_is_a_source_and_a_deployer() -> None:
    """D1, S2: both protocols; it says what it lacks where nobody gave it an engine."""
    source = ImageSource()
    assert isinstance(source, Source)
    assert isinstance(source, Deployer)
    made = revision(1)
    deployment = Deployment(SHOP, {made.id: made}, None, HOST)
    with pytest.raises(PluginConfigInvalid, match="image"):
        source.stage(deployment, made.id)
    with pytest.raises(VerbFailed, match="no engine to act on"):
        source.resolve(LEAST)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image": "registry.example:5000/team/shop:1.4"},
        {"image": f"shop@sha256:{'0' * 64}"},
        {"healthcheck": {"test": ["CMD", "true"]}},
        {"publish_address": "127.0.0.1", "port": 80},
        {"publish_address": "::1", "port": 80, "publish_port": 8080, "strategy": "recreate"},
        {"memory": "1.5g", "cpus": 2},
        {"env": {"PASSWORD": {"secret": "DB_PASSWORD"}, "EMPTY": "", "PLAIN": "x"}},
        {"volumes": [{"name": "data", "target": "/data"}]},
        {"volumes": [{"scope": "absolute", "path": "/srv/shop", "target": "/data", "read_only": True}]},
        {"volumes": [{"scope": "ephemeral", "target": "/tmp/x"}, {"scope": "project", "target": "/data"}]},
        {"volumes": [{"scope": "instance", "name": "x", "target": "/data"}]},
    ],
)
def test_what_is_taken(options: dict[str, Any]) -> None:
    """S2: examples of every kind."""
    ImageSource().validate({**LEAST, **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": "Shop"}, "image: "),
        ({"image": "shop:1; rm -rf /"}, "image: "),
        ({"replicas": 0}, "replicas: "),
        ({"replicas": 51}, "replicas: "),
        ({"replicas": "2"}, "replicas: "),
        ({"port": 65_536}, "port: "),
        ({"strategy": "canary"}, "strategy: "),
        ({"imag": "x"}, "imag: "),
        ({"memory": "lots"}, "'lots' is no size"),
        ({"memory": "1m"}, "less than 6m"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"A": 7}}, "env.A: Value error, a value is text: put it in quotes"),
        ({"env": {"A": {"secret": "-x"}}}, "env.A"),
        ({"env": {"A": {"secrte": "X"}}}, "allowed is text, or {secret: NAME}"),
        ({"env": {"A,B": {"secret": "X"}}}, "no comma in its name"),
        ({"healthcheck": {"test": ["true"]}}, "begins with CMD"),
        ({"healthcheck": {"test": "true", "interval": "soon"}}, "'soon' is no duration"),
        ({"volumes": [{"name": "/etc", "target": "/data"}]}, "volumes.0.name"),
        ({"volumes": [{"name": "data", "target": "data"}]}, "volumes.0.target"),
        ({"volumes": [{"name": "data", "target": "/data/../etc"}]}, "without `..`"),
        ({"volumes": [{"name": "data", "target": "/"}]}, "not `/` itself"),
        ({"volumes": [{"scope": "absolute", "target": "/data"}]}, "path belongs to scope absolute"),
        ({"volumes": [{"scope": "absolute", "path": "srv", "target": "/data"}]}, "volumes.0.path"),
        ({"volumes": [{"scope": "absolute", "path": "/srv/../etc", "target": "/data"}]}, "without `..`"),
        ({"volumes": [{"scope": "absolute", "path": "/srv\x00/x", "target": "/data"}]}, "NUL"),
        ({"volumes": [{"scope": "stage", "path": "/srv", "name": "x", "target": "/data"}]}, "path belongs to scope"),
        ({"volumes": [{"scope": "instance", "target": "/data"}]}, "a volume of scope instance needs a name"),
        (
            {"volumes": [{"scope": "project", "name": "x", "target": "/data"}]},
            "a volume of scope project has no name",
        ),
        ({"volumes": [{"scope": "global", "name": "x", "target": "/data"}]}, "volumes.0.scope"),
        ({"volumes": [{"name": "a", "target": "/d"}, {"name": "b", "target": "/d/"}]}, "have the same target"),
        ({"networks": ["a", "a"]}, "a network stands twice"),
        ({"labels": {"com.docker.compose.project": "x"}}, "is Compose's own"),
        ({"publish_address": "127.0.0.1"}, "port, which is not given"),
        ({"publish_port": 80, "port": 80}, "without publish_address"),
        ({"publish_port": 80, "port": 80, "publish_address": "127.0.0.1"}, "strategy recreate"),
        ({"credentials_file": "relative.json"}, "credentials_file: "),
    ],
)
def test_what_is_refused(options: dict[str, Any], said: str) -> None:
    """S2: the key, the value and what is allowed."""
    with pytest.raises(PluginConfigInvalid) as refused:
        ImageSource().validate({**LEAST, **options})
    assert said in str(refused.value)
    assert "allowed keys: " in str(refused.value)


@pytest.mark.parametrize(
    "env",
    [
        {"PASSWORD": {"value": "hunter2", "secret": True}},
        {"PASSWORD": {"value": "hunter2"}},
        {"PASSWORD": {"secret": {"value": "hunter2"}}},
        {"PASSWORD": ["hunter2"]},
        {"PASSWORD=hunter2": "x"},
        ["PASSWORD=hunter2"],
        "PASSWORD=hunter2",
    ],
)
def test_a_value_that_stands_in_the_manifest_is_not_repeated(env: Any) -> None:
    """S4: a manifest is no place for a secret; what it held there is in no message, and in no cause of one."""
    with pytest.raises(PluginConfigInvalid) as refused:
        ImageSource().validate({**LEAST, "env": env})
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_who_marks_a_plain_value_is_taught() -> None:
    """S4: how a secret is stored instead."""
    with pytest.raises(PluginConfigInvalid, match=r"env.PASSWORD: .* `tallyd secrets set WORKLOAD NAME`, and write"):
        ImageSource().validate({**LEAST, "env": {"PASSWORD": {"value": "hunter2", "secret": True}}})


def test_every_option_has_a_description() -> None:
    """S2: for forms."""
    schema = ImageSource().config_schema()
    assert schema["additionalProperties"] is False
    assert all(each.get("description") for each in schema["properties"].values())


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5), ("1.5s", 1.5), ("1m", 60)]
)
def test_durations(text: str, seconds: float) -> None:
    """S1: as Compose writes them."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "1s1m", "-1s"])
def test_no_durations(text: str) -> None:
    """S1: with an example of one."""
    with pytest.raises(ValueError, match="write for example 10s"):
        seconds_of(text)


def test_sizes() -> None:
    """S1: as Compose writes them."""
    assert [bytes_of(each) for each in ("64m", "1g", "1.5G", "10240kb", "7340032")] == [
        64 * 1024**2,
        1024**3,
        1.5 * 1024**3,
        10240 * 1024,
        7340032,
    ]
