"""Questions to the process that computes, of which only the newest counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

if TYPE_CHECKING:
    from splatom.jobs import RunningJob, Task
    from splatom.plugin.session import Session

__all__ = ["Asking"]

_POLL = 20  # ms


class Asking(QObject):
    """Sends tasks that are no runs; a task that was replaced is stopped, and its answer dropped.

    Parameters
    ----------
    session : Session
    parent : QObject

    Signals
    -------
    done(object)
        The result of the newest task.
    failed(str)
        One line that says why there is none.
    """

    done = Signal(object)
    failed = Signal(str)

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._now: RunningJob | None = None
        self._wanted = False  # whether the answer on its way is to be told
        self._next: Task | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL)
        self._timer.timeout.connect(self._look)

    @property
    def busy(self) -> bool:
        """Whether an answer that counts is on its way."""
        return self._wanted or self._next is not None

    @property
    def running(self) -> RunningJob | None:
        """The task on its way; its snapshots say how far it is."""
        return self._now

    def ask(self, task: Task) -> None:
        """Send a task, in place of any other."""
        if self._now is not None:
            self.forget()
            self._next = task
            return
        self._start(task)

    def forget(self) -> None:
        """Drop what was asked for."""
        self._wanted, self._next = False, None
        if self._now is not None:
            self._now.stop()

    def _start(self, task: Task) -> None:
        self._now, self._wanted = self._session.submit(task), True
        self._timer.start()

    def _look(self) -> None:
        outcome = self._now.outcome if self._now is not None else None
        if outcome is None:
            return
        wanted: Any = self._wanted
        self._now, self._wanted = None, False
        self._timer.stop()
        if self._next is not None:
            task, self._next = self._next, None
            self._start(task)
        elif wanted and outcome.error is not None:
            self.failed.emit(str(outcome.error))
        elif wanted and outcome.result is not None:
            self.done.emit(outcome.result)
