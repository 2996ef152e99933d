"""The exception tree. Third-party exceptions are translated into it where they enter, never further in.

::

    TallydError                      everything raised on purpose; the text is for the person at the terminal
    ├── UsageError                   what was asked for makes no sense (CLI exit 2)
    │   ├── SettingInvalid           a flag, variable or configuration key
    │   └── ManifestInvalid          a workload manifest, with file and line
    ├── EngineError                  the engine did not give a usable answer
    │   ├── EngineUnreachable        no connection, or it broke
    │   ├── EngineTimeout            no complete answer before the deadline
    │   ├── EngineAnswerInvalid      an answer that is not what the API promises
    │   └── EngineCallCancelled      we stopped waiting, because we are stopping
    ├── PluginError                  a plugin, or what it said, is unusable
    │   ├── PluginUnknown            no plugin of this kind is installed
    │   └── PluginConfigInvalid      the plugin refuses its configuration
    ├── LeaderUnreachable            another controller leads this host, and cannot be asked
    └── StoreError                   see store.errors
        ├── StoreUnavailable, StoreUrlInvalid, SchemaOutdated, RowRejected
        ├── PassSuperseded, EngineRefused, LeaseHeld, LeaseLost
        ├── NotFound
        └── Conflict ── WorkloadConflict

A plugin's own way to speak is :class:`controller.plugins.contract.Retry` and ``Terminal``.
"""

from store.errors import (
    Conflict,
    EngineRefused,
    LeaseHeld,
    LeaseLost,
    NotFound,
    PassSuperseded,
    RowRejected,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    StoreUrlInvalid,
    TallydError,
    WorkloadConflict,
)

__all__ = [
    "Conflict",
    "EngineAnswerInvalid",
    "EngineCallCancelled",
    "EngineError",
    "EngineRefused",
    "EngineTimeout",
    "EngineUnreachable",
    "LeaderUnreachable",
    "LeaseHeld",
    "LeaseLost",
    "ManifestInvalid",
    "NotFound",
    "PassSuperseded",
    "PluginConfigInvalid",
    "PluginError",
    "PluginUnknown",
    "RowRejected",
    "SchemaOutdated",
    "SettingInvalid",
    "StoreError",
    "StoreUnavailable",
    "StoreUrlInvalid",
    "TallydError",
    "UsageError",
    "WorkloadConflict",
]


class UsageError(TallydError):
    """What was asked for makes no sense. Nothing was done."""


class SettingInvalid(UsageError):
    """A setting is unknown or has a value that is not allowed (O2)."""


class ManifestInvalid(UsageError):
    """One or more places of a manifest are wrong; one line each, with file and line. Nothing was applied."""


class EngineError(TallydError):
    """The engine did not give a usable answer. Nothing may be concluded about any container (R6)."""


class EngineUnreachable(EngineError):
    """There is no connection to the engine, or it broke in the middle of an answer."""


class EngineTimeout(EngineError):
    """The engine gave no complete answer before the deadline."""


class EngineAnswerInvalid(EngineError):
    """The engine answered something that its API does not promise: an error status, HTML, ``null``."""


class EngineCallCancelled(EngineError):
    """The call was given up because the controller stops (R3)."""


class LeaderUnreachable(TallydError):
    """A controller leads this host, but cannot be asked from here."""


class PluginError(TallydError):
    """A plugin, or what was said to it, cannot be used."""


class PluginUnknown(PluginError):
    """No plugin of this kind is installed."""


class PluginConfigInvalid(PluginError):
    """The plugin refuses this configuration."""
