"""The HTTP port of a running controller keeps to its own description, whatever is sent (O4)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fakes import FakeDocker
from tests.integration.console import Console, Controller, Tallyd, settings_of
from tests.keys import key_file

TOKEN = "a-token-of-the-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
EXAMPLES = 30
EXAMPLES_OF_A_STRANGER = 3
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """A controller on an engine with a few containers."""
    folder = tmp_path_factory.mktemp("schema")
    with contextlib.closing(Console()) as console, FakeDocker() as engine:
        more = {"TALLYD_API_TOKEN": TOKEN, "TALLYD_INTERVAL_SECONDS": "300"}
        more |= {"TALLYD_SECRETS_KEY_FILE": str(key_file(folder))}
        tallyd = Tallyd(
            console, folder, settings_of(engine.endpoint, f"sqlite:///{folder}/tallyd.db", folder, **more)
        )
        tallyd.apply({"id": "web", "kind": "site"})
        engine.world.run("named", {"tallyd.workload.id": "web"})
        with tallyd.running() as started:
            yield started.wait_ready()


def _operations(controller: Controller) -> dict[str, Any]:
    schema = schemathesis.openapi.from_url(f"{controller.address}/api/openapi.json")
    found = (each.ok() for each in schema.get_all_operations())
    return {f"{each.method.upper()} {each.path}": each for each in found}


def test_no_request_finds_what_is_not_described(controller: Controller) -> None:
    """O4: of each operation, valid and invalid requests: no undocumented status, shape or header, and no 5xx."""
    operations = _operations(controller)
    assert len(operations) >= 10
    for name, operation in operations.items():
        for mode in _modes(operation):
            print(name, mode.value)  # of a failure, the last one tells
            _fuzz(operation, mode, HEADERS, EXAMPLES)
        _fuzz(operation, schemathesis.GenerationMode.POSITIVE, {}, EXAMPLES_OF_A_STRANGER)
    assert controller.wait_ready().healthy
    assert "Traceback" not in controller.text


def _modes(operation: Any) -> list[schemathesis.GenerationMode]:
    """Valid requests, and invalid ones where anything can be wrong (an id or a header may be any text)."""
    given = (operation.query, operation.body)
    negative = [schemathesis.GenerationMode.NEGATIVE] if any(list(each) for each in given) else []
    return [schemathesis.GenerationMode.POSITIVE, *negative]


def _fuzz(operation: Any, mode: schemathesis.GenerationMode, headers: dict[str, str], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    call()
