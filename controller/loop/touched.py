"""Which containers are to be looked at, and when: at once, and again until what an event told has settled.

The engine tells of some things before they are so: `die` is sent before the container is listed as stopped, with
the unmounting of its file system in between (moby, daemon/monitor.go). A look that came too early finds nothing;
the later ones cost a listing of one container each.
"""

from __future__ import annotations

SETTLE_SECONDS = (0.0, 0.05, 0.3, 1.5)
"""When a container is looked at, counted from the last event that named it."""


class Touched:
    """Container ids with their looks to come. Not for use from several threads at once."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[float, int]] = {}

    def touch(self, container_id: str, now: float) -> None:
        """Something happened to this container."""
        self._pending[container_id] = (now, 0)

    def take_due(self, now: float) -> set[str]:
        """The containers to look at now; each comes again until its last look."""
        due = {each for each, (since, look) in self._pending.items() if since + SETTLE_SECONDS[look] <= now}
        for each in due:
            since, look = self._pending.pop(each)
            if look + 1 < len(SETTLE_SECONDS):
                self._pending[each] = (since, look + 1)
        return due

    def next_due(self) -> float | None:
        """When the next look is due; ``None`` if there is none."""
        return min((since + SETTLE_SECONDS[look] for since, look in self._pending.values()), default=None)
