"""The exception tree. Third-party exceptions are translated into it where they enter, never further in.

::

    TallydError                      everything raised on purpose; the text is for the person at the terminal
    ├── UsageError                   what was asked for makes no sense (CLI exit 2)
    │   ├── SettingInvalid           a flag or variable
    │   │   └── ConfigInvalid        the controller config, with file and line
    │   ├── ManifestInvalid          a workload manifest, with file and line
    │   ├── SecretInvalid            a secret's name or value is not allowed
    │   └── BranchUnknown            a branch that the git remote does not have
    ├── EngineError                  the engine did not give a usable answer
    │   ├── EngineUnreachable        no connection, or it broke
    │   ├── EngineTimeout            no complete answer before the deadline
    │   ├── EngineAnswerInvalid      an answer that is not what the API promises
    │   ├── EngineCallCancelled      we stopped waiting, because we are stopping
    │   ├── EngineNotFound           no such container, image or network
    │   ├── EngineConflict           a name is taken, or a container is in use
    │   ├── EngineActionFailed       it could not do what it was asked to do
    │   ├── ImageUnavailable         the registry does not give the image
    │   └── OwnContainer             it is the container that the controller runs in
    ├── PluginError                  a plugin, or what it said, is unusable
    │   ├── PluginUnknown            no plugin of this kind is installed
    │   └── PluginConfigInvalid      the plugin refuses its configuration
    ├── LookFailed                   what a trigger looks at cannot be asked
    ├── StandingBy                   another controller leads this host; this one dispatches nothing
    ├── WatchFailed                  a folder cannot be watched
    ├── GitFailed                    git is not installed, or cannot work on the working tree
    ├── RouterError                  a router cannot be told, or not do it
    │   ├── RuntimeConfigInvalid     the runtime config is not one; the last good one serves
    │   └── RouterFailed             the proxy cannot be started, or refuses its configuration
    ├── ReloadFailed                 a new activation could not be built; the previous one serves
    ├── VerbFailed                   a deployer's provider failed, with what it said
    │   ├── SecretUnreadable         a secret value is not there, or no key fits
    │   └── VolumeRefused            a volume that a workload may not have
    ├── SecretsKeyInvalid            there are no keys for secrets, or they cannot be used
    ├── DeployInterrupted            the process stops; the deploy is resumed by deploying again
    ├── LeaderUnreachable            another controller leads this host, and cannot be asked
    └── StoreError                   see store.errors
        ├── StoreUnavailable, StoreUrlInvalid, SchemaOutdated, RowRejected
        ├── PassSuperseded, EngineRefused, LeaseHeld, LeaseLost
        ├── TurnLost                 another deploy took the turn of this one
        ├── InvalidSplit, ForeignRevision
        ├── NotFound ── RevisionNotFound, SplitNotFound, SecretNotFound
        ├── LockTimeout              somebody else holds a lock for too long
        └── Conflict ── WorkloadConflict, GenerationConflict, IllegalTransition, RevisionConflict
            ├── TriggerSuperseded    somebody else dispatched the workload's trigger
            ├── DeployUnderWay       somebody else deploys the workload
            └── SplitConflict ── SplitGenerationConflict

A plugin's own way to speak is :class:`controller.plugins.contract.Retry` and ``Terminal``.
"""

from collections.abc import Mapping

from store.errors import (
    Conflict,
    DeployUnderWay,
    EngineRefused,
    ForeignRevision,
    GenerationConflict,
    IllegalTransition,
    InvalidSplit,
    LeaseHeld,
    LeaseLost,
    LockTimeout,
    NotFound,
    PassSuperseded,
    RevisionConflict,
    RevisionNotFound,
    RowRejected,
    SchemaOutdated,
    SecretNotFound,
    SplitConflict,
    SplitGenerationConflict,
    SplitNotFound,
    StoreError,
    StoreUnavailable,
    StoreUrlInvalid,
    TallydError,
    TriggerSuperseded,
    TurnLost,
    WorkloadConflict,
)

__all__ = [
    "BranchUnknown",
    "ConfigInvalid",
    "Conflict",
    "DeployInterrupted",
    "DeployUnderWay",
    "EngineActionFailed",
    "EngineAnswerInvalid",
    "EngineCallCancelled",
    "EngineConflict",
    "EngineError",
    "EngineNotFound",
    "EngineRefused",
    "EngineTimeout",
    "EngineUnreachable",
    "ForeignRevision",
    "GenerationConflict",
    "GitFailed",
    "IllegalTransition",
    "ImageUnavailable",
    "InvalidSplit",
    "LeaderUnreachable",
    "LeaseHeld",
    "LeaseLost",
    "LockTimeout",
    "LookFailed",
    "ManifestInvalid",
    "NotFound",
    "OwnContainer",
    "PassSuperseded",
    "PluginConfigInvalid",
    "PluginError",
    "PluginUnknown",
    "ReloadFailed",
    "RevisionConflict",
    "RevisionNotFound",
    "RouterError",
    "RouterFailed",
    "RowRejected",
    "RuntimeConfigInvalid",
    "SchemaOutdated",
    "SecretInvalid",
    "SecretNotFound",
    "SecretUnreadable",
    "SecretsKeyInvalid",
    "SettingInvalid",
    "SplitConflict",
    "SplitGenerationConflict",
    "SplitNotFound",
    "StandingBy",
    "StoreError",
    "StoreUnavailable",
    "StoreUrlInvalid",
    "TallydError",
    "TriggerSuperseded",
    "TurnLost",
    "UsageError",
    "VerbFailed",
    "VolumeRefused",
    "WatchFailed",
    "WorkloadConflict",
]


class UsageError(TallydError):
    """What was asked for makes no sense. Nothing was done."""


class SettingInvalid(UsageError):
    """A setting is unknown or has a value that is not allowed (O2)."""


class ConfigInvalid(SettingInvalid):
    """The controller config cannot be read or is not allowed; one line a problem, with file and line. Nothing was
    stored.
    """


class ManifestInvalid(UsageError):
    """One or more places of a manifest are wrong; one line each, with file and line. Nothing was applied."""


class SecretInvalid(UsageError):
    """A secret's name or value is not allowed. The value is never told (S4)."""


class BranchUnknown(UsageError):
    """The branch that was asked for cannot be resolved at the remote (H3)."""


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


class EngineNotFound(EngineError):
    """The engine has no such container, image or network."""


class EngineConflict(EngineError):
    """A name is taken, or a container is in a state that does not allow it."""


class EngineActionFailed(EngineError):
    """The engine could not do what it was asked to do; the text is its own."""


class ImageUnavailable(EngineError):
    """The registry does not give the image: it is down, has no such image, or wants other credentials."""


class OwnContainer(EngineError):
    """What was to be acted on is the container that the controller runs in (S5). Nothing was done."""


class WatchFailed(TallydError):
    """A folder that holds declared files cannot be watched (W1)."""


class GitFailed(TallydError):
    """git is not installed, or cannot work on this working tree."""


class ReloadFailed(TallydError):
    """A new activation could not be built (the previous one serves), or not be put in place whole (H6)."""

    def __init__(self, message: str, *, restart_required: bool = False) -> None:
        super().__init__(message)
        self.restart_required = restart_required


class VerbFailed(TallydError):
    """A deployer's provider failed. ``checks`` maps what was looked at to what it said, for who has to mend it."""

    def __init__(self, message: str, checks: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.checks = dict(checks or {})


class SecretUnreadable(VerbFailed):
    """A secret value is not there, or cannot be decrypted: its workload fails, and no other (S4)."""

    def __init__(self, workload_id: str, name: str, why: str) -> None:
        super().__init__(
            f"secret {name!r} of workload {workload_id!r} cannot be read: {why}", {f"secret {name}": why}
        )
        self.workload_id = workload_id
        self.name = name


class VolumeRefused(VerbFailed):
    """A volume that a workload may not have: a path that is not allowed, or another workload's volume (S4)."""


class SecretsKeyInvalid(TallydError):
    """There are no keys for secrets, or they cannot be used. No key is ever told (S4)."""


class DeployInterrupted(TallydError):
    """The process stops in the middle of a deploy. Nothing is marked; deploying again goes on from there (L2)."""


class RouterError(TallydError):
    """A router cannot be told what to do, or cannot do it."""


class RuntimeConfigInvalid(RouterError):
    """The runtime config is not one that a router may use; one line a problem. The last good one serves (T3)."""


class RouterFailed(RouterError):
    """The proxy cannot be started, refuses its configuration, or does not take it over. The last good one serves."""


class LeaderUnreachable(TallydError):
    """A controller leads this host, but cannot be asked from here."""


class PluginError(TallydError):
    """A plugin, or what was said to it, cannot be used."""


class LookFailed(TallydError):
    """What a trigger looks at, such as a registry, cannot be asked, or answers nothing of use. Asked again later."""


class StandingBy(TallydError):
    """This controller does not lead its host, so it dispatches no trigger. Ask the one that leads."""


class PluginUnknown(PluginError):
    """No plugin of this kind is installed."""


class PluginConfigInvalid(PluginError):
    """The plugin refuses this configuration."""
