"""Gold beads followed through the tilts."""

from __future__ import annotations
class BeadError(ValueError):
    """There are no beads to go by."""
def by_beads(up, job, start=None):
    raise BeadError("not there yet")
