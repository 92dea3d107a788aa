"""A mailbox that holds the newest snapshot only: no queue grows, no copy is made for nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Mailbox", "Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """What a running job shows of itself.

    Parameters
    ----------
    run_id : str
    step, total : int
    figures : dict
        Newest figures by name (loss, r, r_free).
    preview : object
        A small Volume, GaussianCloud, TiltSeries or dict of arrays; None where there is none to show.
    seconds : float
        Time since the job began, pauses left out.
    edits : int
        Edits that the method had been handed when this was made: a preview with fewer than were sent is older than
        the user's hand.
    notes : dict
        What was decided from the data so far. Notes made before the first step come in a snapshot of their own, of
        0 steps in all.
    """

    run_id: str
    step: int
    total: int
    figures: Mapping[str, Any] = field(default_factory=dict)
    preview: Any = None
    seconds: float = 0.0
    edits: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)


class Mailbox:
    """Latest-only: ``offer`` calls its function only if the last snapshot was taken, or is of before the first step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._content: Snapshot | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the last snapshot was taken."""
        return self._content is None

    def offer(self, make: Callable[[], Snapshot]) -> bool:
        """Put a snapshot in if the box is empty or has notes only; ``make`` is not called otherwise."""
        content = self._content
        if content is not None and content.total:
            return False
        snapshot = make()
        with self._lock:
            self._content = snapshot
        return True

    def take(self) -> Snapshot | None:
        """Take the snapshot out, None if there is none."""
        with self._lock:
            content, self._content = self._content, None
        return content
