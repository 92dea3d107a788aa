"""Where jobs run: in a thread of this process, or in one warm process beside it."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection, Listener
from typing import Any, Literal

from splatom.data import MethodParams, live_fields
from splatom.jobs.checkpoint import CheckpointStore, fingerprint
from splatom.jobs.errors import JobError, Stopped, explain
from splatom.jobs.job import Extra, Job, changed
from splatom.jobs.mailbox import Mailbox, Snapshot
from splatom.jobs.transfer import Packed, pack, unpack

__all__ = ["Outcome", "ProcessExecutor", "RunningJob", "Task", "ThreadExecutor"]

Status = Literal["running", "paused", "done", "stopped", "failed"]

# By name: this room knows no methods.
_RUNNER = "splatom.methods.registry:execute"
WARM = ("torch", "splatom.operators", "splatom.methods.registry")
"""What the warm process loads before the first task."""


@dataclass(frozen=True)
class Task:
    """All that a run needs, picklable.

    Parameters
    ----------
    group, name : str
    params : MethodParams
    data : TiltSeries, Volume, GaussianCloud or Atoms
    device : {'cpu', 'cuda'}
    seed : int
    checkpoint : str, optional
        Folder of the run's checkpoints.
    checkpoint_every : float
        Seconds.
    resume : bool
        Whether to go on from the newest checkpoint.
    replay, stop_at
        See :class:`Job`.
    runner : str
        ``module:function`` called as ``function(group, name, data, job)``.
    """

    group: str
    name: str
    params: MethodParams
    data: Any
    device: str = "cpu"
    seed: int = 0
    checkpoint: str | None = None
    checkpoint_every: float = 60.0
    resume: bool = False
    replay: tuple[tuple[int, dict[str, Any]], ...] = ()
    stop_at: int | None = None
    runner: str = _RUNNER

    def job(self) -> Job[Any]:
        """Make the job of this task."""
        store = None
        if self.checkpoint is not None:
            live = live_fields(type(self.params))
            fixed = {k: v for k, v in self.params.model_dump(mode="json").items() if k not in live}
            who = {"method": f"{self.group} {self.name}", "input": fingerprint(self.data), "seed": self.seed}
            store = CheckpointStore(self.checkpoint, {**who, **fixed})
            if not self.resume:
                store.clear()
        return Job(
            self.params,
            device=self.device,
            seed=self.seed,
            checkpoints=store,
            checkpoint_every=self.checkpoint_every,
            replay=self.replay,
            stop_at=self.stop_at,
        )


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: Status
    result: Any = None
    error: JobError | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    events: tuple[tuple[int, dict[str, Any]], ...] = ()
    seconds: float = 0.0
    extras: dict[str, Extra] = field(default_factory=dict)


def prepared(task: Task) -> Job[Any] | JobError:
    """Make a task's job, or say why it cannot be made (a checkpoint folder that cannot be written, say)."""
    try:
        return task.job()
    except (OSError, ValueError, JobError) as exc:
        return explain(exc, task.params, task.device)


def perform(task: Task, job: Job[Any]) -> Outcome:
    """Run a task to its end; every fault becomes a :class:`JobError`, so nothing is raised."""
    result, error = None, None
    status: Status = "done"
    try:
        module, _, name = task.runner.partition(":")
        result = getattr(import_module(module), name)(task.group, task.name, task.data, job)
        status = "done" if job.stopped_at is None else "stopped"
    except Stopped:
        status = "stopped"
    except Exception as exc:  # noqa: BLE001 - the border between the job and the window: all faults cross as messages
        status, error = "failed", explain(exc, task.params, task.device)
        error.__cause__ = None if isinstance(exc, JobError) else exc
    return Outcome(
        status, result, error, job.notes, job.figures, job.curves, tuple(job.events), job.seconds, job.extras
    )


class RunningJob:
    """The caller's handle on a run, the same for every executor."""

    def __init__(self, task: Task, control: Callable[[str, dict[str, Any]], None], mailbox: Mailbox) -> None:
        self.task = task
        self.run_id = uuid.uuid4().hex[:12]
        self._control = control
        self._mailbox = mailbox
        self._params = task.params
        self._paused = False
        self._ended = threading.Event()
        self._outcome: Outcome | None = None

    @property
    def status(self) -> Status:
        """Running, paused, done, stopped or failed."""
        if self._outcome is not None:
            return self._outcome.status
        return "paused" if self._paused else "running"

    @property
    def params(self) -> MethodParams:
        """The parameters with all changes asked for so far."""
        return self._params

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs."""
        return self._outcome

    def take(self) -> Snapshot | None:
        """Take the newest snapshot, None if there is none since the last."""
        return self._mailbox.take()

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """Wait for the end; None if the time ran out."""
        self._ended.wait(timeout)
        return self._outcome

    def stop(self) -> None:
        """Stop at the next tick or check; what there is becomes the result."""
        self._control("stop", {})

    def pause(self) -> None:
        """Hold the run."""
        self._paused = True
        self._control("pause", {})

    def resume(self) -> None:
        """Let it go on."""
        self._paused = False
        self._control("resume", {})

    def change(self, **fields: Any) -> None:
        """Change live parameters; raises JobError at once if they cannot."""
        self._params = changed(self._params, fields)
        self._control("change", fields)

    def edit(self, edit: dict[str, Any]) -> None:
        """Hand an edit of the result to the run."""
        self._control("edit", {"edit": edit})

    def _end(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._ended.set()


def steer(job: Job[Any], what: str, fields: dict[str, Any]) -> None:
    """Pass one control message on to a job."""
    if what in ("stop", "pause", "resume"):
        getattr(job, what)()
    elif what == "change":
        job.change(**fields)
    elif what == "edit":
        job.edit(fields["edit"])


class ThreadExecutor:
    """Runs every task in a thread of its own: the fallback, and the test double."""

    def submit(self, task: Task) -> RunningJob:
        """Start a task."""
        job = prepared(task)
        if isinstance(job, JobError):
            run = RunningJob(task, lambda what, fields: None, Mailbox())
            run._end(Outcome("failed", error=job))
            return run
        run = RunningJob(task, lambda what, fields: steer(job, what, fields), job.mailbox)
        threading.Thread(target=lambda: run._end(perform(task, job)), name="splatom-job", daemon=True).start()
        return run

    def close(self) -> None:
        """Nothing to close; threads are daemons."""


class ProcessExecutor:
    """Runs tasks one at a time in a warm process beside this one.

    The process is a plain ``python -m splatom.jobs.worker``: unlike a multiprocessing spawn it does not import the
    caller's main module again. It loads torch and numba while the user is still choosing parameters, and ends with
    this process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sending = threading.Lock()  # a message is more than one write, and several threads send
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Connection[Any, Any] | None = None
        self._current: RunningJob | None = None
        self._sent: list[Packed] = []
        self._waiting: list[RunningJob] = []

    def warm_up(self) -> None:
        """Start the process in the background, if it does not run."""
        threading.Thread(target=self._ensure, name="splatom-warm-up", daemon=True).start()

    def submit(self, task: Task) -> RunningJob:
        """Start a task; it waits its turn if another runs."""
        run = RunningJob(task, lambda what, fields: self._send_control(run, what, fields), _Acknowledged(self))
        threading.Thread(target=self._begin, args=(run,), name="splatom-begin", daemon=True).start()
        return run

    def close(self) -> None:
        """End the process."""
        with self._lock:
            process, link = self._process, self._link
            self._process = self._link = None
        if link is not None:
            link.close()
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()

    # ---------------------------------------------------------------- inside
    def _ensure(self) -> Connection[Any, Any]:
        with self._lock:
            if self._link is not None and self._process is not None and self._process.poll() is None:
                return self._link
            key = uuid.uuid4().hex
            with Listener(authkey=key.encode()) as listener:
                address = listener.address
                env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "SPLATOM_WORKER_KEY": key}
                # What the process prints goes to a file: a pipe nobody reads would fill up and hold it.
                log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "splatom.jobs.worker", str(address)],
                    env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
                connected = threading.Event()
                _give_up_with(listener, self._process, connected)
                try:
                    self._link = listener.accept()
                finally:
                    connected.set()
            threading.Thread(target=self._listen, args=(self._link,), name="splatom-listen", daemon=True).start()
            return self._link

    def _send(self, link: Connection[Any, Any], *message: Any) -> None:
        with self._sending:
            link.send(message)

    def _begin(self, run: RunningJob) -> None:
        try:
            link = self._ensure()
            with self._lock:
                if self._current is not None:
                    self._waiting.append(run)
                    return
                self._current = run
            packed = pack(run.task)
            self._sent.append(packed)
            self._send(link, "run", run.run_id, packed.message)
        except (OSError, EOFError, ValueError, MemoryError, subprocess.SubprocessError) as exc:
            self._current = None
            run._end(Outcome("failed", error=explain(exc, run.task.params, run.task.device)))

    def _send_control(self, run: RunningJob, what: str, fields: dict[str, Any]) -> None:
        if run in self._waiting and what == "stop":
            self._waiting.remove(run)
            run._end(Outcome("stopped"))
            return
        link = self._link
        if link is not None:
            with contextlib.suppress(OSError):  # the process has just ended; its listener says so to everyone
                self._send(link, what, run.run_id, fields)

    def _listen(self, link: Connection[Any, Any]) -> None:
        try:
            while True:
                what, run_id, payload = link.recv()
                run = self._current
                if what == "received":
                    while self._sent:
                        self._sent.pop().close()
                elif what == "snapshot":
                    snapshot = unpack(payload)
                    if run is not None and run.run_id == run_id:
                        run._mailbox.offer(lambda s=snapshot: s)  # type: ignore[misc]
                elif what == "ended":
                    try:
                        outcome = unpack(payload)
                    except (AttributeError, ImportError, MemoryError, pickle.UnpicklingError) as exc:
                        outcome = Outcome("failed", error=explain(exc))
                    self._send(link, "unpacked", run_id, {})
                    self._finish(run_id, outcome)
        except (EOFError, OSError):
            with self._lock:
                if self._link is link:
                    self._link = None
            for packed in self._sent:
                packed.discard()
            self._sent.clear()
            code = self._process.wait() if self._process is not None else None
            if self._current is not None:
                advice = "; perhaps the system ran out of memory" if code in (-9, 137) else ""
                error = JobError(f"the process that computes ended (exit status {code}){advice}: run it again")
                self._finish(self._current.run_id, Outcome("failed", error=error))

    def _finish(self, run_id: str, outcome: Outcome) -> None:
        with self._lock:
            run, following = self._current, None
            if run is None or run.run_id != run_id:
                return
            self._current = None
            if self._waiting:
                following = self._waiting.pop(0)
        run._end(outcome)
        if following is not None:
            threading.Thread(target=self._begin, args=(following,), name="splatom-begin", daemon=True).start()

    def _taken(self) -> None:
        link, run = self._link, self._current
        if link is not None and run is not None:
            with contextlib.suppress(OSError):
                self._send(link, "taken", run.run_id, {})


class _Acknowledged(Mailbox):
    """A mailbox that tells the process that its snapshot was taken, so that it makes the next."""

    def __init__(self, executor: ProcessExecutor) -> None:
        super().__init__()
        self._executor = executor

    def take(self) -> Snapshot | None:
        snapshot = super().take()
        if snapshot is not None:
            self._executor._taken()
        return snapshot


def _give_up_with(listener: Listener, process: subprocess.Popen[bytes], connected: threading.Event) -> None:
    """Close a Listener whose process died before it called: accept() itself has no time limit."""

    def watch() -> None:
        while not connected.wait(0.1):
            if process.poll() is not None:
                listener.close()
                return

    threading.Thread(target=watch, name="splatom-accept", daemon=True).start()
