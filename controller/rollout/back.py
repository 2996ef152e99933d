"""Where a rollback leads: to the split before, or to the revision that served before. Pure."""

from __future__ import annotations

from controller.errors import RevisionConflict, SplitNotFound
from controller.rollout.deployer import Deployment, Revision
from store.rollout_records import RevisionState

S = RevisionState

_GONE = (S.FAILED, S.ARCHIVED)


def split_is_ready(deployment: Deployment) -> bool:
    """Whether the entries before can be set again at once: every revision that they send traffic to is up.

    :raises SplitNotFound: there is no split.
    """
    split = deployment.split
    if split is None:
        raise SplitNotFound(deployment.workload.id)
    up = {each.id for each in deployment.revisions.values() if each.state is S.READY}
    return split.previous is not None and all(each.revision_id in up for each in split.previous)


def one_before(deployment: Deployment) -> Revision:
    """The revision that served before: the one with most of the traffic before, else the newest of those before.

    :raises SplitNotFound: there is no split.
    :raises RevisionConflict: none is left that can be deployed.
    """
    split, revisions = deployment.split, deployment.revisions
    if split is None:
        raise SplitNotFound(deployment.workload.id)
    serving = {each.revision_id for each in split.entries if each.weight > 0}
    before = sorted(split.previous or (), key=lambda each: -each.weight)
    newest = max((revisions[each].sequence for each in serving if each in revisions), default=0)
    earlier = [each for each in revisions.values() if each.sequence < newest]
    candidates = [revisions[each.revision_id] for each in before if each.weight > 0 and each.revision_id in revisions]
    candidates += sorted(earlier, key=lambda each: -each.sequence)
    for each in candidates:
        if each.id not in serving and each.state not in _GONE:
            return each
    raise RevisionConflict(
        f"workload {deployment.workload.id!r}: no revision is left to go back to; `tallyd deploy --keep` says how "
        "many earlier ones stay, and `tallyd deploy --revision` takes any that is not archived"
    )
