"""`controller.settings`: flags, then environment, then the controller config, then defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from controller.errors import SettingInvalid
from controller.settings import Settings, address_of
from controller.settings_sources import LoadedSettings, load_settings

TOKEN = "x" * 32


def load(flags: dict[str, Any] | None = None, **environment: str) -> LoadedSettings:
    """Settings from flags and variables."""
    return load_settings(flags or {}, environment)


def complaint(flags: dict[str, Any] | None = None, **environment: str) -> str:
    """What is wrong with them."""
    with pytest.raises(SettingInvalid) as refused:
        load(flags, **environment)
    return str(refused.value)


def test_defaults() -> None:
    """O2, O4: loopback, SQLite, 30 s, and no secret."""
    settings = load().settings
    assert settings.database_url.startswith("sqlite:////")
    assert (settings.listen, settings.on_loopback) == ("127.0.0.1:9477", True)
    assert (settings.interval_seconds, settings.label_prefix) == (30.0, "tallyd")
    assert (settings.api_token, settings.reload_token, settings.config) == (None, None, None)
    assert load().origins == {}


def test_flags_win_over_environment_over_config_over_defaults(tmp_path: Path) -> None:
    """O2: and each value's origin is known."""
    path = tmp_path / "tallyd.yaml"
    path.write_text("host: from-config\nlabel_prefix: from-config\ninterval_seconds: 10\n")
    loaded = load(
        {"host": "from-flag", "listen": None},
        TALLYD_CONFIG=str(path),
        TALLYD_HOST="from-variable",
        TALLYD_LABEL_PREFIX="from-variable",
    )
    settings = loaded.settings
    assert (settings.host, settings.label_prefix, settings.interval_seconds) == ("from-flag", "from-variable", 10.0)
    assert loaded.origins == {
        "host": "--host",
        "label_prefix": "TALLYD_LABEL_PREFIX",
        "interval_seconds": f"key interval_seconds of {path}",
        "config": "TALLYD_CONFIG",
    }


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in ("config", "reload_token")])
def test_every_setting_is_a_variable_and_a_file(tmp_path: Path, name: str) -> None:
    """O2: `TALLYD_<NAME>` and `TALLYD_<NAME>_FILE`, of which one line break at the end is none of the value."""
    samples = {
        "host": "h1",
        "database_url": "sqlite:////x.db",
        "listen": "127.0.0.1:1",
        "label_prefix": "acme",
        "log_level": "debug",
        "log_format": "json",
        "api_token": TOKEN,
        "reload_token_previous": TOKEN,
        "manifests_prune": "true",
        "history_rows": "700",
        "volume_roots": "/srv:/mnt/data",
        "sites": "/srv/sites",
    }
    value = samples.get(name, "7")
    path = tmp_path / "value"
    path.write_text(f"{value}\n")
    variable = f"TALLYD_{name.upper()}"
    direct, from_file = load(**{variable: value}), load(**{f"{variable}_FILE": str(path)})
    assert getattr(direct.settings, name) == getattr(from_file.settings, name)
    assert getattr(direct.settings, name) is not None
    assert from_file.origins == {name: f"{variable}_FILE"}


def test_variable_and_file_exclude_each_other(tmp_path: Path) -> None:
    """O2: nobody can know which was meant."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    said = complaint(TALLYD_API_TOKEN=TOKEN, TALLYD_API_TOKEN_FILE=str(path))
    assert said == "TALLYD_API_TOKEN and TALLYD_API_TOKEN_FILE are both set; keep one of them"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """O2: names variable, path and reason."""
    said = complaint(TALLYD_API_TOKEN_FILE=str(tmp_path / "nowhere"))
    assert "TALLYD_API_TOKEN_FILE" in said
    assert "cannot be read" in said
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert "cannot be read" in complaint(TALLYD_API_TOKEN_FILE=str(tmp_path / "bytes"))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TALLYD_INTERVALL_SECONDS": "5"}, ["TALLYD_INTERVALL_SECONDS", "did you mean TALLYD_INTERVAL_SECONDS?"]),
        ({"TALLYD_DB": "x"}, ["TALLYD_DB is not a setting", "Allowed: TALLYD_HOST"]),
        ({"TALLYD_": "x"}, ["TALLYD_ is not a setting"]),
        ({"TALLYD_NOTHING_FILE": "/x"}, ["TALLYD_NOTHING_FILE is not a setting"]),
        ({"TALLYD_INTERVAL_SECONDS": "soon"}, ["TALLYD_INTERVAL_SECONDS is 'soon'", "valid number"]),
        ({"TALLYD_INTERVAL_SECONDS": "nan"}, ["TALLYD_INTERVAL_SECONDS is 'nan'", "finite number"]),
        ({"TALLYD_INTERVAL_SECONDS": "inf"}, ["finite number"]),
        ({"TALLYD_HOST": "a b"}, ["TALLYD_HOST is 'a b'"]),
        ({"TALLYD_HOST": ""}, ["TALLYD_HOST is ''"]),
        ({"TALLYD_LABEL_PREFIX": "Acme."}, ["TALLYD_LABEL_PREFIX is 'Acme.'"]),
        ({"TALLYD_LISTEN": "9477"}, ["TALLYD_LISTEN is '9477'", "host:port or [v6]:port"]),
        ({"TALLYD_LISTEN": "127.0.0.1:70000"}, ["port 0 to 65535"]),
        ({"TALLYD_LISTEN": "::1:80"}, ["host:port or [v6]:port"]),
        ({"TALLYD_LOG_LEVEL": "loud"}, ["TALLYD_LOG_LEVEL is 'loud'", "'debug', 'info', 'warning' or 'error'"]),
        ({"TALLYD_PLUGIN_WORKERS": "0"}, ["TALLYD_PLUGIN_WORKERS is '0'", "greater than or equal to 1"]),
        ({"TALLYD_ENGINE_TIMEOUT_SECONDS": "0"}, ["greater than 0"]),
        ({"TALLYD_ENGINE_TIMEOUT_SECONDS": "601"}, ["less than or equal to 600"]),
    ],
    ids=lambda value: next(iter(value.items()))[0] + next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named(environment: dict[str, str], expected: list[str]) -> None:
    """O2: the value, what is allowed and the nearest key."""
    said = complaint(**environment)
    for each in expected:
        assert each in said


def test_every_problem_is_told_at_once() -> None:
    """O2: one line each."""
    said = complaint(TALLYD_HOST="a b", TALLYD_LOG_LEVEL="loud", TALLYD_LISTEN="x")
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize("name", ["api_token", "reload_token"])
def test_secrets_are_never_told(name: str) -> None:
    """O6: neither in an error nor by printing the settings."""
    variable = f"TALLYD_{name.upper()}"
    said = complaint(**{variable: "short secret"})
    assert variable in said
    assert "short secret" not in said
    settings = load(**{variable: TOKEN}).settings
    assert TOKEN not in repr(settings)
    assert TOKEN not in settings.model_dump_json()
    assert getattr(settings, name).get_secret_value() == TOKEN


def test_tokens_have_a_least_length() -> None:
    """O2, O4: 32 characters for reloads, 16 for the API."""
    assert "at least 32" in complaint(TALLYD_RELOAD_TOKEN="x" * 31)
    assert "at least 16" in complaint(TALLYD_API_TOKEN="x" * 15)
    assert load(TALLYD_RELOAD_TOKEN="x" * 32, TALLYD_API_TOKEN="x" * 16).settings.api_token is not None


def test_variables_of_others_are_none_of_ours() -> None:
    """O2: Kubernetes sets some for a service named tallyd, and the tests set theirs."""
    names = [
        "TALLYD_SERVICE_HOST",
        "TALLYD_SERVICE_PORT",
        "TALLYD_SERVICE_PORT_HTTP",
        "TALLYD_PORT",
        "TALLYD_PORT_9477_TCP",
        "TALLYD_PORT_9477_TCP_ADDR",
        "TALLYD_METRICS_SERVICE_HOST",
        "TALLYD_TEST_DOCKER_HOST",
        "PATH",
        "MYTALLYD_HOST",
    ]
    assert load(**dict.fromkeys(names, "x")).origins == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("intervall_seconds: 5\n", ["intervall_seconds is not a setting; did you mean interval_seconds?"]),
        ("config: other.yaml\n", ["config is not a setting"]),
        ("interval_seconds: soon\n", [":1: interval_seconds is 'soon'"]),
        ("interval_seconds: [1]\n", [":1: interval_seconds is [1]"]),
        ("- a\n", ["is a list; it must be a mapping"]),
        ("text\n", ["is a str; it must be a mapping"]),
        ("a: [\n", [":2: not YAML"]),
        ("1: 2\n", ["1 is not a setting"]),
    ],
)
def test_a_config_that_is_wrong(tmp_path: Path, text: str, expected: list[str]) -> None:
    """O2: file, key, and the nearest one."""
    path = tmp_path / "tallyd.yaml"
    path.write_text(text)
    said = complaint({"config": str(path)})
    assert str(path) in said
    for each in expected:
        assert each in said


@pytest.mark.parametrize("text", [None, "", "# nothing\n"])
def test_an_absent_or_empty_config_is_defaults(tmp_path: Path, text: str | None) -> None:
    """O2: a controller needs no file to start."""
    path = tmp_path / "tallyd.yaml"
    if text is not None:
        path.write_text(text)
    assert load(TALLYD_CONFIG=str(path)).settings.interval_seconds == 30.0


def test_json_is_a_config_too(tmp_path: Path) -> None:
    """O2: YAML or JSON."""
    path = tmp_path / "tallyd.json"
    path.write_text('{"interval_seconds": 12, "log_level": "debug"}')
    settings = load({"config": path}).settings
    assert (settings.interval_seconds, settings.log_level) == (12.0, "debug")


def test_settings_are_frozen() -> None:
    """House: nobody changes them under a running controller."""
    with pytest.raises(ValidationError):
        load().settings.host = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("example.com:1", False),
    ],
)
def test_what_is_loopback(listen: str, loopback: bool) -> None:
    """O4: off loopback reads need a token, so nothing else may count as loopback."""
    assert load(TALLYD_LISTEN=listen).settings.on_loopback is loopback


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("host.example:65535", ("host.example", 65535))],
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    """O4: host and port, IPv6 in brackets."""
    assert address_of(listen) == address


def test_a_name_that_begins_like_loopback_is_not() -> None:
    """O4: `127.example.com` is a name in somebody's zone."""
    assert not load(TALLYD_LISTEN="127.example.com:1").settings.on_loopback


def test_volume_roots_are_folders() -> None:
    """S4, O2: in a variable with colons between, in a config a list; `/` is no allow-list."""
    assert load(TALLYD_VOLUME_ROOTS="/srv:/mnt/data/").settings.volume_roots == (Path("/srv"), Path("/mnt/data"))
    assert load(TALLYD_VOLUME_ROOTS="").settings.volume_roots == ()
    for wrong in ("srv", "/", "/srv/../etc", "/srv:relative"):
        with pytest.raises(SettingInvalid, match=r"TALLYD_VOLUME_ROOTS .* allowed: absolute paths"):
            load(TALLYD_VOLUME_ROOTS=wrong)
