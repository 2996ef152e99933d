"""Deployers that differ from the reference by one defect each, and the one check that has to find it.

A refusal that never comes cannot be looked at for calls of the provider: those checks are blocked, and named too.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from controller.errors import ForeignRevision, InvalidSplit, SplitNotFound
from tests.contract.defects import (
    answers_later,
    answers_to,
    archives_once,
    asks_the_provider,
    before,
    drains_more_each_time,
    drains_traffic,
    enforces_for_all,
    enforces_percents,
    first_split_goes_to_the_first,
    insists_on_the_image,
    key_error,
    leaves_it_running,
    lies_about_entries,
    looks_before_the_split,
    looks_first,
    names_another,
    never_changed,
    only_ready,
    outcome,
    remembers,
    reports,
    splits,
    stages_later,
    stages_more_each_time,
    swallows,
    takes_foreign,
    takes_the_workload,
    takes_unknown,
    tolerates,
    waits_for_the_provider,
    without_zeros,
    wrong_ports,
)
from tests.contract.folders import FolderDeployer

VERBS = ("stage", "warm", "drain", "archive")
_SPLIT_CALLS = ("refusal-without-calls-split",)
_DRAIN_CALLS = "refusal-without-calls-drain"


@dataclass(frozen=True)
class Broken:
    """A defect in words, the members that have it, the check that finds it, and those that it blocks."""

    defect: str
    members: Mapping[str, Any]
    fails: str
    blocks: tuple[str, ...] = ()

    @property
    def deployer(self) -> type[FolderDeployer]:
        """The reference with the defect."""
        return type("BrokenDeployer", (FolderDeployer,), dict(self.members))


BROKEN = (
    Broken("another kind than its entry point", {"kind": "maps"}, "members"),
    *(
        broken
        for verb in VERBS
        for without_calls in [f"refusal-without-calls-{verb}"]
        for broken in (
            Broken(
                f"{verb} does not check that the revision exists",
                before(verb, takes_unknown),
                f"unknown-revision-{verb}",
                (without_calls,),
            ),
            Broken(
                f"{verb} does not check whose revision it is",
                before(verb, takes_foreign),
                f"foreign-revision-{verb}",
                (without_calls,),
            ),
            Broken(f"{verb} looks in the provider first", before(verb, looks_first), without_calls),
        )
    ),
    Broken("drain refuses by a KeyError", before("drain", key_error), "unknown-revision-drain", (_DRAIN_CALLS,)),
    Broken("no split is nothing to do", splits(answers_to(SplitNotFound)), "split-missing", _SPLIT_CALLS),
    Broken("9,999 is taken for 10,000", splits(tolerates(-1)), "split-sum-9999", _SPLIT_CALLS),
    Broken("10,001 is taken for 10,000", splits(tolerates(1)), "split-sum-10001", _SPLIT_CALLS),
    Broken("only the sum of weights is checked", splits(answers_to(InvalidSplit)), "split-bounds"),
    Broken("foreign entries are left out", splits(answers_to(ForeignRevision)), "split-foreign", _SPLIT_CALLS),
    Broken("the split verb looks first", splits(looks_before_the_split), *_SPLIT_CALLS),
    Broken("a failure comes as the driver raised it", {"told": lambda *_: nullcontext()}, "provider-failure"),
    Broken("a failure to stage is no failure", before("stage", swallows), "provider-failure"),
    Broken("it hangs while the provider is away", {"told": waits_for_the_provider}, "provider-failure"),
    Broken("a wrong workload is named", outcome("archive", names_another), "outcome-verbs"),
    Broken("a verb returns no Done", outcome("stage", lambda _: {}), "outcome-verbs", ("repeat-stage",)),
    Broken("zero weights are not told", splits(lies_about_entries), "outcome-split"),
    Broken("the first split is another one", {"enforce": first_split_goes_to_the_first}, "split-enforced"),
    Broken("weights are whole percents", {"enforce": enforces_percents}, "split-change"),
    Broken("a split is applied to every workload", {"enforce": enforces_for_all}, "independence"),
    Broken("stage returns while it pulls", {"stage": stages_later}, "stage-effect"),
    Broken("warm returns while it starts", answers_later(), "warm-effect"),
    Broken("drain gives the revision traffic", {"wait_for_sessions": drains_traffic}, "drain-effect"),
    Broken("drain does not wait", {"wait_for_sessions": lambda *_: None}, "drain-waits"),
    Broken("archive takes the image alone", {"take_away": leaves_it_running}, "archive-effect"),
    Broken("archive takes the whole workload", {"take_away": takes_the_workload}, "archive-effect"),
    Broken("stage is not idempotent", {"stage": stages_more_each_time}, "repeat-stage"),
    Broken("warm always says changed", outcome("warm", partial(replace, changed=True)), "repeat-warm"),
    Broken("warm never says changed", outcome("warm", partial(replace, changed=False)), "repeat-warm"),
    Broken("drain is not idempotent", {"wait_for_sessions": drains_more_each_time}, "repeat-drain"),
    Broken("archive cannot be repeated", {"take_away": archives_once}, "repeat-archive"),
    Broken("a split is never said to be new", splits(never_changed), "repeat-split"),
    Broken("archive insists on the image", {"take_away": insists_on_the_image}, "archive-of-nothing"),
    Broken("the report asks the provider", reports(asks_the_provider), "report-pure"),
    Broken("blocks are in another order", reports(lambda _s, _d, blocks: blocks[::-1]), "report-projection"),
    Broken("ports are texts", reports(wrong_ports), "report-targets"),
    Broken("zero weights are left out", reports(without_zeros), "report-zero-weights"),
    Broken("only what is ready is reported", reports(only_ready), "report-lifecycle"),
    Broken("the first report is remembered", reports(remembers), "report-follows"),
)
"""Every check but `subject` has to be in this list."""
