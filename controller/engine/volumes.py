"""Volumes of the engine: made, found by their labels, removed. Each verb may be repeated."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from controller.engine.containers import VolumeSeen
from controller.engine.exchange import Exchange, Request, decoded
from controller.errors import EngineNotFound


class Volumes:
    """Verbs about volumes."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def create(self, name: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Have a volume of this name; returns the labels that it has: those of its first making.

        :raises EngineError: the engine failed.
        """
        body = {"Name": name, "Labels": dict(labels)}
        answer = self._exchange.ask(Request("create_volume", "POST", "/volumes/create", body=body))
        return _seen(decoded("create_volume", answer, dict)).labels

    def list(self, labels: Mapping[str, str]) -> builtins.list[VolumeSeen]:
        """The volumes that carry all these labels, by name.

        :raises EngineError: the engine does not tell.
        """
        wanted = [f"{name}={value}" for name, value in labels.items()]
        params = {"filters": orjson.dumps({"label": wanted}).decode()}
        answer = self._exchange.ask(Request("list_volumes", "GET", "/volumes", params))
        found = decoded("list_volumes", answer, dict).get("Volumes") or ()
        return sorted((_seen(each) for each in found), key=lambda each: each.name)

    def remove(self, name: str) -> None:
        """Remove a volume with what is in it; one that is gone is removed.

        :raises EngineConflict: a container has it mounted.
        :raises EngineError: the engine failed.
        """
        try:
            self._exchange.ask(Request("remove_volume", "DELETE", f"/volumes/{quote(name, safe='')}"))
        except EngineNotFound:
            return


def _seen(said: Mapping[str, Any]) -> VolumeSeen:
    labels = said.get("Labels") or {}
    return VolumeSeen(str(said.get("Name", "")), {str(name): str(value) for name, value in labels.items()})
