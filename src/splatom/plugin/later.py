"""Pictures that take a moment are made beside the window: only the newest one asked for counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

__all__ = ["Later"]

_POLL = 15  # ms
_PATIENCE = 5.0  # seconds that a closing dock waits for a picture on its way


class _Work:
    """One question and its answer; it knows no Qt object, so that the thread can neither reach nor free one."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], number: int) -> None:
        self.number = number
        self.answer: Any = None
        self.fault = "the picture could not be made"
        self.thread = threading.Thread(target=self._run, args=(function, args), name="splatom-picture", daemon=True)

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self.answer = function(*args)
            self.fault = ""
        except (ValueError, MemoryError, OSError, ArithmeticError) as exc:
            self.fault = str(exc).partition("\n")[0] or type(exc).__name__


class Later(QObject):
    """Calls a function in a thread and hands its answer to the window; never two at once, never a queue.

    The function and its arguments have to be free of widgets and layers: numpy arrays and values only.

    Signals
    -------
    done(object)
        The answer to the newest question; answers to older ones are dropped.
    failed(str)
        One line that says why there is none.
    """

    done = Signal(object)
    failed = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._asked = 0
        self._work: _Work | None = None
        self._waiting: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL)
        self._timer.timeout.connect(self._look)
        # The thread ends before its dock does: a garbage collection in it would free widgets outside the window's
        # thread, which Qt does not survive.
        self._running: list[threading.Thread] = []
        running = self._running
        parent.destroyed.connect(lambda *_: [thread.join(_PATIENCE) for thread in running])

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._work is not None

    def ask(self, function: Callable[..., Any], *args: Any) -> None:
        """Ask for ``function(*args)``; a question that waits is replaced."""
        self._asked += 1
        if self._work is not None:
            self._waiting = (function, args)
        else:
            self._start(function, args)

    def forget(self) -> None:
        """Drop what was asked for."""
        self._asked += 1
        self._waiting = None

    def _start(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._work = _Work(function, args, self._asked)
        self._running[:] = [self._work.thread]
        self._work.thread.start()
        self._timer.start()

    def _look(self) -> None:
        """Fetch the answer if it is there, and go on to the question that waits."""
        work = self._work
        if work is None or work.thread.is_alive():
            return
        self._work = None
        self._timer.stop()
        self._running.clear()
        if self._waiting is not None:
            (function, args), self._waiting = self._waiting, None
            self._start(function, args)
        if work.number == self._asked:
            (self.failed.emit(work.fault) if work.fault else self.done.emit(work.answer))
