"""`tallyd schema`: JSON schemas of what people write, for editors."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from controller.cli.context import Output
from controller.cli.render import emit
from controller.declared.manifests import manifest_schema
from controller.settings_sources import config_schema


class Document(StrEnum):
    """What people write."""

    MANIFEST = "manifest"
    CONFIG = "config"


def schema(document: Annotated[Document, typer.Argument(help="manifest or config.")] = Document.MANIFEST) -> None:
    """Print the JSON schema of a manifest or of the controller config.

    For an editor with a YAML language server, save it and begin the file with:

        # yaml-language-server: $schema=manifest.schema.json
    """
    emit(manifest_schema() if document is Document.MANIFEST else config_schema(), Output.JSON)
