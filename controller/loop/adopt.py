"""Giving a container of a project its row, as a deployer does for what it starts (R9)."""

from __future__ import annotations

from controller.clock import Clock
from controller.errors import Conflict, NotFound
from controller.loop.explain import find_container
from controller.loop.observe import Unreadable
from controller.loop.tick import Activation, preview
from store import index
from store.records import Assignment, WorkloadKind


def adopt_container(activation: Activation, workload_id: str, wanted: str, clock: Clock) -> str:
    """Create the row for a listed container and return the row's id; the next tick fills it.

    :raises NotFound: no such workload or container.
    :raises Conflict: it is no project, the container names another workload, or has a row already.
    """
    seen = preview(activation, clock)
    workload = seen.snapshot.workloads.get(workload_id)
    if workload is None:
        raise NotFound(f"workload {workload_id!r} is not in the store; `tallyd workload list` shows those that are")
    if workload.kind is not WorkloadKind.PROJECT:
        raise Conflict(f"workload {workload_id!r} is a {workload.kind}; rows of sites and stacks make themselves")
    container = find_container(seen, wanted)
    if isinstance(container, Unreadable):
        raise Conflict(f"container {wanted!r} cannot be read: {container.reason}")
    if container.workload_id != workload_id:
        said = repr(container.workload_id) if container.workload_id else "nothing"
        raise Conflict(
            f"container {container.name!r} must carry the label {activation.names.workload_id}={workload_id}; "
            f"it says {said}"
        )
    row = Assignment(
        id=f"{workload_id}:{container.name}",
        workload_id=workload_id,
        workload_kind=str(workload.kind),
        role=container.role,
        container_id=container.id,
        name=container.name,
        image_ref=container.image_ref,
        image_id=container.image_id,
        state="",
        health="",
        port=0,
        ports="[]",
        revision=container.revision,
    )
    index.create_row(activation.database, activation.host, row)
    return row.id
