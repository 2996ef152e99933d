"""Workload manifests: YAML → workloads, checked as a whole before anything is applied (O7)."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from controller.declared.targets import is_manifest
from controller.errors import ManifestInvalid, PluginConfigInvalid, PluginUnknown
from controller.plugins.contract import PublicFace
from controller.plugins.registry import Registry
from controller.wording import words_of
from controller.yamls import Document, read_documents
from store.records import Workload, WorkloadKind

# A colon separates workload and slot in row ids (R10), so an id has none.
WorkloadId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Printable = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=255)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PluginSpec(_Strict):
    """A source or a trigger: which one, and its options."""

    kind: str = Field(min_length=1)
    config: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("config")
    @classmethod
    def _can_be_stored(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        json.dumps(value, allow_nan=False)
        return value


class WorkloadSpec(_Strict):
    """One entry of ``workloads:``."""

    id: WorkloadId = Field(description="Value of the label <prefix>.workload.id; defaults to the name.")
    name: Printable
    kind: WorkloadKind
    ref: Printable | None = Field(
        default=None, description="Site id of a site, Compose project of a stack; defaults to <prefix>-<id>."
    )
    source: PluginSpec | None = None
    trigger: PluginSpec | None = None
    public_faces: tuple[PublicFace, ...] = ()
    parent: WorkloadId | None = None
    host: str | None = Field(
        default=None, description="The only host that indexes it; none: every host of the store."
    )

    @model_validator(mode="before")
    @classmethod
    def _id_and_name_stand_for_each_other(cls, data: Any) -> Any:
        if isinstance(data, dict):
            name, own_id = data.get("name"), data.get("id")
            return {
                **data,
                "id": own_id if own_id is not None else name,
                "name": name if name is not None else own_id,
            }
        return data

    @model_validator(mode="after")
    def _not_its_own_parent(self) -> Self:
        if self.parent == self.id:
            raise ValueError(f"{self.id!r} cannot be its own parent")
        return self

    def as_workload(self, prefix: str) -> Workload:
        """The record to be stored."""
        return Workload(
            id=self.id,
            name=self.name,
            kind=self.kind,
            ref=self.ref or f"{prefix}-{self.id}",
            source_kind=self.source.kind if self.source else "",
            source_config=self.source.config if self.source else {},
            trigger_kind=self.trigger.kind if self.trigger else "",
            trigger_config=self.trigger.config if self.trigger else {},
            public_faces=[face.model_dump(exclude_none=True) for face in self.public_faces],
            parent=self.parent,
            host=self.host,
        )


class Manifest(_Strict):
    """One YAML document."""

    workloads: tuple[WorkloadSpec, ...]


def manifest_schema() -> dict[str, Any]:
    """JSON schema of a manifest, for editors. What a plugin's config allows is the plugin's own matter."""
    schema = Manifest.model_json_schema()
    either = [{"required": ["id"]}, {"required": ["name"]}]
    schema["$defs"]["WorkloadSpec"] |= {"required": ["kind"], "anyOf": either}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def read_manifests(paths: Iterable[Path], registry: Registry, prefix: str) -> list[Workload]:
    """Read files, and the ``*.yaml`` and ``*.yml`` of folders, as one set.

    :raises ManifestInvalid: every problem of every file, each with file, line and what is allowed.
    """
    texts = {}
    for path in _files(paths):
        try:
            texts[str(path)] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestInvalid(f"{path}: cannot be read: {error}") from error
    return parse_manifests(texts, registry, prefix)


def parse_manifests(texts: Mapping[str, str], registry: Registry, prefix: str) -> list[Workload]:
    """Texts by name → workloads.

    :raises ManifestInvalid: every problem of every text, each with name, line and what is allowed.
    """
    problems: list[str] = []
    workloads: list[Workload] = []
    places: dict[str, str] = {}
    for source, text in texts.items():
        for document in read_documents(text, source):
            for path, spec in _specs(document, source, problems):
                place = f"{source}:{document.line_of(path)}"
                problems += [f"{place}: {each}" for each in _problems(spec, registry, prefix)]
                if spec.id in places:
                    problems.append(f"{place}: workload {spec.id!r} is declared in {places[spec.id]} already")
                places.setdefault(spec.id, place)
                workloads.append(spec.as_workload(prefix))
    if problems:
        raise ManifestInvalid("\n".join(problems))
    return workloads


def parse_workload(value: Mapping[str, Any], registry: Registry, prefix: str) -> Workload:
    """One workload from an API request.

    :raises ManifestInvalid: every problem, one a line.
    """
    try:
        spec = WorkloadSpec.model_validate(value)
    except ValidationError as error:
        raise ManifestInvalid("\n".join(_message(each, WorkloadSpec) for each in error.errors())) from error
    if problems := _problems(spec, registry, prefix):
        raise ManifestInvalid("\n".join(problems))
    return spec.as_workload(prefix)


def _files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if is_manifest(each))
            if not inside:
                raise ManifestInvalid(f"{path}: the folder has no *.yaml file")
            if odd := next((each for each in inside if not each.is_file()), None):  # a named pipe would never end
                raise ManifestInvalid(f"{odd}: not a regular file, nor a link to one; take it out of the folder")
            files += inside
        else:
            files.append(path)
    return files


def _specs(document: Document, source: str, problems: list[str]) -> list[tuple[tuple[str | int, ...], WorkloadSpec]]:
    try:
        manifest = Manifest.model_validate(document.value)
    except ValidationError as error:
        for each in error.errors():
            problems.append(f"{source}:{document.line_of(each['loc'])}: {_message(each)}")
        return []
    return [(("workloads", place), spec) for place, spec in enumerate(manifest.workloads)]


_MODEL_BELOW: Mapping[str, type[BaseModel]] = {
    "workloads": WorkloadSpec,
    "source": PluginSpec,
    "trigger": PluginSpec,
    "public_faces": PublicFace,
}


def _message(error: Any, root: type[BaseModel] = Manifest) -> str:
    where = ".".join(str(step) for step in error["loc"]) or "document"
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        above = [step for step in error["loc"][:-1] if isinstance(step, str)]
        allowed = list((_MODEL_BELOW[above[-1]] if above else root).model_fields)
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{where}: unknown key {key!r}; {hint}allowed: {', '.join(allowed)}"
    # What holds others is not repeated: it may be a config that stands in the wrong folder, with its secrets.
    given = error["input"]
    got = f"a {type(given).__name__}" if given and isinstance(given, dict | list) else repr(given)
    return f"{where}: {error['msg']} (got {got})"


def _problems(spec: WorkloadSpec, registry: Registry, prefix: str) -> list[str]:
    problems: list[str] = []
    for noun, plugin, find in (
        ("source", spec.source, registry.source),
        ("trigger", spec.trigger, registry.trigger),
    ):
        if plugin is not None:
            try:
                find(plugin.kind).validate(plugin.config)
            except (PluginUnknown, PluginConfigInvalid) as error:
                problems.append(f"workload {spec.id!r}: {noun}: {error}")
            except (Exception, SystemExit) as error:  # noqa: BLE001  # a stranger's code ends here; why is shown
                problems.append(f"workload {spec.id!r}: {noun}: the plugin failed: {words_of(error)}")
    if spec.kind is WorkloadKind.STACK and spec.ref is not None and not spec.ref.startswith(f"{prefix}-"):
        problems.append(
            f"workload {spec.id!r}: ref is {spec.ref!r}; a Compose project is only looked at when its name starts "
            f"with {prefix + '-'!r}"
        )
    return problems
