"""A job as napari knows it: a worker that napari can name in its status and quit when the window closes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari.qt.threading import FunctionWorker, create_worker

if TYPE_CHECKING:
    from splatom.jobs import Outcome, RunningJob

__all__ = ["JobWorker", "watch"]

_PATIENCE = 3.0  # seconds that a job told to quit may take to hand back what it has


class _Wait:
    """Waits for a job; its text is what napari shows when asked to close with the job running."""

    def __init__(self, run: RunningJob, title: str) -> None:
        self.run = run
        self.title = title
        self.quitting_since: float | None = None

    def __repr__(self) -> str:
        return f"Splatom {self.title}"

    def __call__(self) -> Outcome | None:
        while (outcome := self.run.wait(0.05)) is None:
            since = self.quitting_since
            if since is not None and time.monotonic() - since > _PATIENCE:
                break
        return outcome


class JobWorker(FunctionWorker):
    """Waits in napari's thread pool for a job that runs elsewhere; quitting it stops the job.

    A function worker, because napari's generator workers swallow RuntimeError, and so every CUDA out-of-memory.
    """

    def __init__(self, func: _Wait, *args: Any, **kwargs: Any) -> None:
        super().__init__(func, *args, **kwargs)
        self._wait = func

    def quit(self) -> None:
        """Stop the job; what it has becomes its result."""
        if self._wait.quitting_since is None:
            self._wait.quitting_since = time.monotonic()
            self._wait.run.stop()
        super().quit()


def watch(run: RunningJob, title: str) -> JobWorker:
    """Start a worker for a running job.

    Parameters
    ----------
    run : RunningJob
    title : str
        What napari calls it.
    """
    return create_worker(_Wait(run, title), _start_thread=True, _worker_class=JobWorker)
