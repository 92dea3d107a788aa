"""Pictures that take a moment are made beside the window: only the newest one asked for counts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt, Signal

__all__ = ["Later"]


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
    _ended = Signal(int, object, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._asked = 0
        self._busy = False
        self._waiting: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        self._ended.connect(self._land, Qt.ConnectionType.QueuedConnection)

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._busy

    def ask(self, function: Callable[..., Any], *args: Any) -> None:
        """Ask for ``function(*args)``; a question that waits is replaced."""
        self._asked += 1
        if self._busy:
            self._waiting = (function, args)
        else:
            self._start(function, args)

    def forget(self) -> None:
        """Drop what was asked for."""
        self._asked += 1
        self._waiting = None

    def _start(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._busy = True
        number = self._asked

        def work() -> None:
            answer, fault = None, ""
            try:
                answer = function(*args)
            except (ValueError, MemoryError, OSError, ArithmeticError) as exc:
                fault = str(exc).partition("\n")[0] or type(exc).__name__
            with contextlib.suppress(RuntimeError):  # the dock was closed meanwhile
                if isalive(self):
                    self._ended.emit(number, answer, fault)

        threading.Thread(target=work, name="splatom-picture", daemon=True).start()

    def _land(self, number: int, answer: Any, fault: str) -> None:
        self._busy = False
        current = number == self._asked
        if self._waiting is not None:
            (function, args), self._waiting = self._waiting, None
            self._start(function, args)
        if current:
            (self.failed.emit(fault) if fault else self.done.emit(answer))
