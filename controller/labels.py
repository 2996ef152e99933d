"""The names of the labels that tallyd reads, under the configured prefix, and Compose's own (never written)."""

from __future__ import annotations

from dataclasses import dataclass, field

COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_NUMBER = "com.docker.compose.container-number"
COMPOSE_ONEOFF = "com.docker.compose.oneoff"

SECRET_VARIABLES = ".secret-variables"
"""Under any prefix: the names of the variables of a container whose values are never told, with commas between."""

DEFAULT_PREFIX = "tallyd"


@dataclass(frozen=True, slots=True)
class LabelNames:
    """Label names under ``prefix`` (SPEC, Labels)."""

    prefix: str = DEFAULT_PREFIX
    workload_id: str = field(init=False)
    workload_kind: str = field(init=False)
    role: str = field(init=False)
    static_site: str = field(init=False)
    revision: str = field(init=False)
    project_prefix: str = field(init=False)

    def __post_init__(self) -> None:
        """Spell the names out once; they are read for every container of every tick."""
        object.__setattr__(self, "workload_id", f"{self.prefix}.workload.id")
        object.__setattr__(self, "workload_kind", f"{self.prefix}.workload.kind")
        object.__setattr__(self, "role", f"{self.prefix}.role")
        object.__setattr__(self, "static_site", f"{self.prefix}.static-site")
        object.__setattr__(self, "revision", f"{self.prefix}.revision")
        object.__setattr__(self, "project_prefix", f"{self.prefix}-")

    @property
    def spec(self) -> str:
        """Digest of what was asked for; only containers that a source of ours made have it."""
        return f"{self.prefix}.spec"

    @property
    def secret_variables(self) -> str:
        """Which variables of a container hold secrets, with commas between."""
        return f"{self.prefix}{SECRET_VARIABLES}"

    @property
    def volume_scope(self) -> str:
        """What a volume is shared by; only volumes that a source of ours made have it."""
        return f"{self.prefix}.volume.scope"

    @property
    def own(self) -> tuple[str, ...]:
        """All labels of ours that dispatch reads."""
        return (self.workload_id, self.workload_kind, self.role, self.static_site, self.revision)
