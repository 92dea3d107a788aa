"""Job: the one object a method sees of the world outside."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError

from splatom.data import MethodParams, live_fields
from splatom.jobs.errors import JobError, Stopped
from splatom.jobs.mailbox import Mailbox, Snapshot

if TYPE_CHECKING:
    from splatom.jobs.checkpoint import CheckpointStore

__all__ = ["Extra", "Job", "changed"]

P = TypeVar("P", bound=MethodParams)

State = Mapping[str, Any]


def changed(params: P, fields: Mapping[str, Any]) -> P:
    """Return parameters with some live fields changed, the whole model validated anew.

    Raises
    ------
    JobError
        If a field is not live or a value is out of bounds.
    """
    dead = sorted(set(fields) - live_fields(type(params)))
    if dead:
        raise JobError(f"{', '.join(dead)} cannot change while the method runs")
    try:
        return type(params).model_validate({**params.model_dump(), **fields})
    except ValidationError as exc:
        first = exc.errors()[0]
        raise JobError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from exc


@dataclass(frozen=True)
class Extra:
    """What a method hands over beside its result.

    Parameters
    ----------
    value : Volume, GaussianCloud or other value
    means : str
        What it shows, in words.
    highest : float, optional
        Upper end of its scale, which begins at 0; by default what its data reach.
    """

    value: Any
    means: str = ""
    highest: float | None = None


class Job(Generic[P]):
    """A run of one method: parameters in, progress out, and the user's hand on it.

    The method's thread calls :meth:`tick` once per step and :meth:`check` inside long passes; any other thread may
    call :meth:`stop`, :meth:`pause`, :meth:`resume`, :meth:`change` and :meth:`edit`.

    Parameters
    ----------
    params : MethodParams
    device : str
        'cpu' or 'cuda'.
    seed : int
        Seed of every random generator the method makes.
    checkpoints : CheckpointStore, optional
    checkpoint_every : float
        Seconds between checkpoints.
    replay : sequence of (step, what)
        Events of an earlier run, applied again at their steps.
    stop_at : int, optional
        Step after which to stop (the replay of a stopped run).
    """

    def __init__(
        self,
        params: P,
        *,
        device: str = "cpu",
        seed: int = 0,
        checkpoints: CheckpointStore | None = None,
        checkpoint_every: float = 60.0,
        replay: tuple[tuple[int, dict[str, Any]], ...] = (),
        stop_at: int | None = None,
    ) -> None:
        self.run_id = uuid.uuid4().hex[:12]
        self.device = device
        self.seed = seed
        self.mailbox = Mailbox()
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.notes: dict[str, Any] = {}
        self.figures: dict[str, Any] = {}
        self.extras: dict[str, Extra] = {}
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.step = 0
        self.total = 0
        self.stopped_at: int | None = None
        self._params = params
        self._checkpoints = checkpoints
        self._every = checkpoint_every
        self._replay = list(replay)
        self._stop_at = stop_at
        self._lock = threading.Lock()
        self._pending: list[dict[str, Any]] = []
        self._edits = 0
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._began = time.monotonic()
        self._waited = 0.0
        self._saved = time.monotonic()

    # ---------------------------------------------------------------- for the method
    @property
    def params(self) -> P:
        """The parameters now: an immutable snapshot, swapped whole at a tick."""
        return self._params

    @property
    def seconds(self) -> float:
        """Seconds since the job began, pauses left out."""
        return time.monotonic() - self._began - self._waited

    def note(self, **decisions: Any) -> None:
        """Write down what was decided from the data; it goes into the report and the provenance.

        Two are shown to the user at once: ``plan``, what is to come, and ``warning``, why to doubt the result.
        """
        self.notes.update(decisions)
        if not self.total:  # the first step, which would tell them, may be far off
            self._offer(0, 0, None)

    def attach(self, title: str, value: Any, means: str = "", highest: float | None = None) -> None:
        """Hand over a value beside the result; the window shows a volume over that of the result (see Extra)."""
        self.extras[title] = Extra(value, means, highest)

    def check(self) -> None:
        """Raise Stopped if a stop was asked for; wait here while paused. Cheap: call it per slab, block or tile."""
        if self._stop.is_set():
            raise Stopped
        if not self._go.is_set():
            since = time.monotonic()
            while not self._go.wait(0.05):
                if self._stop.is_set():
                    break
            self._waited += time.monotonic() - since
            if self._stop.is_set():
                raise Stopped

    def tick(
        self,
        step: int,
        total: int,
        snapshot: Callable[[], Any] | None = None,
        *,
        figures: Mapping[str, float] | None = None,
        state: Callable[[], State] | None = None,
    ) -> tuple[dict[str, Any], ...]:
        """Report one finished step, and hear what the user wants.

        Parameters
        ----------
        step, total : int
            Steps done and steps in all.
        snapshot : callable, optional
            Makes a preview; called only if the last one was taken.
        figures : dict, optional
            Loss, R and the like at this step; they make the curves of the monitor.
        state : callable, optional
            Gives the whole state for a checkpoint: arrays and JSON values. Called only when one is due.

        Returns
        -------
        tuple of dict
            Edits made by the user since the last tick.

        Raises
        ------
        Stopped
        """
        self.step, self.total = step, total
        if figures:
            self.figures.update(figures)
            for name, value in figures.items():
                self.curves.setdefault(name, []).append((step, float(value)))
        self._offer(step, total, snapshot)
        edits = self._apply(step)
        # The method has not heard of these edits yet: its state does not go with events that list them.
        due = self._checkpoints is not None and time.monotonic() - self._saved >= self._every
        if state is not None and due and not edits:
            self._save(step, state())
        if self._stop_at is not None and step >= self._stop_at:
            self._stop.set()
        self.check()
        return edits

    @contextmanager
    def keeping_partial(self) -> Iterator[None]:
        """Run a loop whose result so far is worth keeping: a stop ends the block, not the method."""
        try:
            yield
        except Stopped:
            self.stopped_at = self.step

    def restore(self) -> dict[str, Any] | None:
        """Return the state of the newest checkpoint to go on from, None to start afresh."""
        found = self._checkpoints.load() if self._checkpoints is not None else None
        if found is None:
            return None
        state, meta = found
        self.step = int(meta["step"])
        self._params = type(self._params).model_validate(meta["params"])
        self.events = [(int(at), dict(what)) for at, what in meta["events"]]
        self.notes.update(meta["notes"])
        self.curves = {k: [(int(s), float(v)) for s, v in c] for k, c in meta["curves"].items()}
        self._replay = [(at, what) for at, what in self._replay if at > self.step]
        return state

    # ---------------------------------------------------------------- for everyone else
    def stop(self) -> None:
        """Ask the method to stop at its next tick or check and keep what it has."""
        self._stop.set()

    @property
    def stop_requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop.is_set()

    def pause(self) -> None:
        """Hold the method at its next tick or check."""
        self._go.clear()

    def resume(self) -> None:
        """Let a paused method go on."""
        self._go.set()

    @property
    def paused(self) -> bool:
        """Whether the method is held."""
        return not self._go.is_set()

    def change(self, **fields: Any) -> None:
        """Change live parameters from the next tick on.

        Raises
        ------
        JobError
            If a field is not live or a value is out of bounds; nothing changes then.
        """
        with self._lock:
            waiting = {k: v for what in self._pending for k, v in what.get("change", {}).items()}
            changed(self._params, {**waiting, **fields})
            self._pending.append({"change": fields})

    def edit(self, edit: dict[str, Any]) -> None:
        """Hand an edit of the result (by ids) to the method; JSON values only."""
        with self._lock:
            self._pending.append({"edit": edit})

    # ---------------------------------------------------------------- inside
    def _offer(self, step: int, total: int, snapshot: Callable[[], Any] | None) -> None:
        self.mailbox.offer(
            lambda: Snapshot(
                self.run_id, step, total, dict(self.figures), snapshot() if snapshot else None, self.seconds,
                self._edits, dict(self.notes),
            )
        )  # fmt: skip

    def _apply(self, step: int) -> tuple[dict[str, Any], ...]:
        with self._lock:
            due, self._pending = self._pending, []
        self._edits += sum("edit" in what for what in due)
        due = [what for at, what in self._replay if at == step] + due
        edits = []
        for what in due:
            if "change" in what:
                self._params = changed(self._params, what["change"])
            else:
                edits.append(what["edit"])
            self.events.append((step, what))
        return tuple(edits)

    def _save(self, step: int, state: State) -> None:
        assert self._checkpoints is not None
        meta = {
            "params": self._params.model_dump(mode="json"),
            "events": self.events,
            "notes": self.notes,
            "curves": self.curves,
        }
        self._checkpoints.save(step, state, meta)
        self._saved = time.monotonic()
