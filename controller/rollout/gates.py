"""Gates: what has to be true of a revision under traffic before it gets more (L2).

Each looks at the world and says what it saw; none changes anything. A gate that cannot look is not passed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from controller.rollout.deployer import Deployment
from controller.rollout.walker import Gate, Verdict

_MOST_BYTES = 1024 * 1024
_WORST_STATUS = 399


@dataclass(frozen=True, slots=True)
class Gates:
    """What is to be looked at after each step of a deploy, as it is asked for; by default nothing.

    :param probe: URL for :class:`HttpProbe`.
    :param prometheus: URL of a Prometheus, for the PromQL condition ``query``.
    :param hold_seconds: how long that has to stay so.
    """

    probe: str | None = None
    prometheus: str | None = None
    query: str | None = None
    hold_seconds: float = 0.0

    def __post_init__(self) -> None:
        """:raises ValueError: it cannot be looked at so."""
        for name, url in (("probe", self.probe), ("prometheus", self.prometheus)):
            if url is not None and not url.startswith(("http://", "https://")):
                raise ValueError(f"{name} {url!r} is no URL to ask; write http://… or https://…")
        if (self.prometheus is None) != (self.query is None):
            raise ValueError("prometheus and query belong together; give both or none")


def gate_of(gates: Gates, pause: Callable[[float], bool]) -> Gate | None:
    """The gate that is asked for, if one is.

    :param pause: as of :func:`held_for`.
    """
    if gates == Gates():
        return None
    wanted: list[Gate] = [HttpProbe(gates.probe)] if gates.probe is not None else []
    if gates.prometheus is not None and gates.query is not None:
        wanted.append(PrometheusQuery(gates.prometheus, gates.query))
    together = all_of(wanted)
    return held_for(together, gates.hold_seconds, pause) if gates.hold_seconds > 0 else together


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """A URL that answers with a status below 400, so many times in a row. ``{revision}`` in it becomes the id."""

    url: str
    times: int = 3
    timeout_seconds: float = 5.0

    def __call__(self, deployment: Deployment, revision_id: str) -> Verdict:
        """Ask; stops at the first answer that is wrong."""
        url = self.url.replace("{revision}", revision_id)
        for number in range(1, self.times + 1):
            said = _status_of(url, self.timeout_seconds)
            if said is not None:
                return Verdict(passed=False, checks={"http": f"{url}: {said} (request {number} of {self.times})"})
        return Verdict(passed=True, checks={"http": f"{url}: {self.times} good answers"})


@dataclass(frozen=True, slots=True)
class PrometheusQuery:
    """A PromQL condition that holds, asked of a Prometheus: its result has at least one sample, and none is 0.

    A comparison filters, so ``rate(errors[1m]) < 0.01`` has no sample where it does not hold. ``{revision}`` and
    ``{workload}`` in the query are replaced.
    """

    server: str
    query: str
    timeout_seconds: float = 10.0

    def __call__(self, deployment: Deployment, revision_id: str) -> Verdict:
        """Ask for the value now."""
        query = self.query.replace("{revision}", revision_id).replace("{workload}", deployment.workload.id)
        url = f"{self.server.rstrip('/')}/api/v1/query?{urlencode({'query': query})}"
        try:
            with urlopen(url, timeout=self.timeout_seconds) as answer:
                samples = _samples(json.loads(answer.read(_MOST_BYTES)))
        except HTTPError as error:
            return Verdict(passed=False, checks={"prometheus": f"{query}: {_error_of(error)}"})
        except (URLError, OSError, ValueError, KeyError, TypeError) as error:
            return Verdict(
                passed=False, checks={"prometheus": f"{self.server} does not answer as Prometheus does: {error}"}
            )
        told = ", ".join(samples) or "no sample"
        passed = bool(samples) and all(float(each) != 0 for each in samples)
        return Verdict(passed, {"prometheus": f"{query}: {told}"})


def all_of(gates: Sequence[Gate]) -> Gate:
    """Every gate, in order, up to the first that is not passed."""

    def together(deployment: Deployment, revision_id: str) -> Verdict:
        checks: dict[str, str] = {}
        for gate in gates:
            verdict = gate(deployment, revision_id)
            checks |= verdict.checks
            if not verdict.passed:
                return Verdict(passed=False, checks=checks)
        return Verdict(passed=True, checks=checks)

    return together


def held_for(gate: Gate, seconds: float, pause: Callable[[float], bool]) -> Gate:
    """A gate that has to be passed at once, and once more after so many seconds.

    :param pause: waits, and says whether it was told to stop; then the gate is not passed.
    """

    def twice(deployment: Deployment, revision_id: str) -> Verdict:
        first = gate(deployment, revision_id)
        if not first.passed:
            return first
        if pause(seconds):
            return Verdict(passed=False, checks={**first.checks, "stopped": "the controller stops"})
        return gate(deployment, revision_id)

    return twice


def _status_of(url: str, timeout_seconds: float) -> str | None:
    """What is wrong with an answer; ``None`` for a good one."""
    try:
        with urlopen(Request(url, headers={"User-Agent": "tallyd"}), timeout=timeout_seconds) as answer:
            status: int = answer.status
            return None if status <= _WORST_STATUS else f"status {status}"
    except HTTPError as error:
        return None if error.code <= _WORST_STATUS else f"status {error.code}"
    except (URLError, OSError, ValueError) as error:
        return f"no answer: {getattr(error, 'reason', error)}"


def _samples(answer: Any) -> list[str]:
    """The values of a scalar or of an instant vector.

    :raises ValueError: it is neither. KeyError and TypeError for what has not even that shape.
    """
    kind, result = answer["data"]["resultType"], answer["data"]["result"]
    if kind not in ("scalar", "vector"):
        raise ValueError(f"the query gives a {kind}, not a scalar or an instant vector")
    return [result[1]] if kind == "scalar" else [each["value"][1] for each in result]


def _error_of(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(_MOST_BYTES))["error"])
    except (ValueError, KeyError, OSError):
        return f"status {error.code}"
