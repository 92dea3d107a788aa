"""The warm process: ``python -m splatom.jobs.worker ADDRESS``; started by :class:`ProcessExecutor` only."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import sys
import threading
from importlib import import_module
from multiprocessing.connection import Client, Connection
from typing import Any

__all__ = ["main"]


class _Worker:
    def __init__(self, link: Connection[Any, Any]) -> None:
        self.link = link
        self.tasks: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.sending = threading.Lock()
        self.may_publish = threading.Event()
        self.unpacked = threading.Event()
        self.job: Any = None
        self.early: list[tuple[str, dict[str, Any]]] = []
        self.run_id = ""

    def send(self, *message: Any) -> None:
        with self.sending:
            self.link.send(message)

    def listen(self) -> None:
        """Read all messages; the only reader. The parent's end means ours."""
        from splatom.jobs.errors import JobError, explain
        from splatom.jobs.executors import steer
        from splatom.jobs.transfer import unpack

        try:
            while True:
                what, run_id, payload = self.link.recv()
                if what == "run":
                    self.early, self.job, self.run_id = [], None, run_id
                    try:
                        task: Any = unpack(payload)
                    except (AttributeError, ImportError, MemoryError, pickle.UnpicklingError) as exc:
                        task = explain(exc)
                    self.send("received", run_id, None)
                    self.tasks.put((run_id, task))
                elif what == "taken":
                    self.may_publish.set()
                elif what == "unpacked":
                    self.unpacked.set()
                elif run_id == self.run_id:
                    if self.job is None:
                        self.early.append((what, payload))
                        continue
                    with contextlib.suppress(JobError):  # the caller's handle has refused it already
                        steer(self.job, what, payload)
        except (EOFError, OSError):
            os._exit(0)

    def publish(self, job: Any, run_id: str, ended: threading.Event) -> None:
        """Send the newest snapshot whenever the last one was taken."""
        from splatom.jobs.transfer import pack

        held = None
        while not ended.is_set():
            if not self.may_publish.wait(0.05):
                continue
            snapshot = job.mailbox.take()
            if snapshot is None:
                ended.wait(0.02)
                continue
            if held is not None:
                held.close()
            held = pack(snapshot)
            self.may_publish.clear()
            self.send("snapshot", run_id, held.message)
        if held is not None:
            held.close()

    def work(self) -> None:
        """Perform tasks one after another, in the main thread (torch and Ctrl-C prefer it)."""
        from splatom.jobs.errors import JobError
        from splatom.jobs.executors import Outcome, perform, prepared, steer
        from splatom.jobs.transfer import pack

        while True:
            run_id, task = self.tasks.get()
            job = task if isinstance(task, JobError) else prepared(task)
            if isinstance(job, JobError):
                outcome = Outcome("failed", error=job)
            else:
                self.job = job
                for what, fields in self.early:
                    steer(job, what, fields)
                ended = threading.Event()
                self.may_publish.set()
                publisher = threading.Thread(target=self.publish, args=(job, run_id, ended), daemon=True)
                publisher.start()
                outcome = perform(task, job)
                ended.set()
                publisher.join()
            if outcome.error is not None:
                outcome.error.__cause__ = outcome.error.__context__ = None  # may not pickle, and is told already
            packed = pack(outcome)
            self.unpacked.clear()
            self.send("ended", run_id, packed.message)
            self.unpacked.wait(30)
            packed.close()
            self.job = None
            del task, job, outcome  # the next task may need their memory


def main() -> None:
    """Connect to the caller, load the heavy libraries, and serve."""
    address = sys.argv[1]
    link = Client(address, authkey=os.environ.pop("SPLATOM_WORKER_KEY").encode())
    from splatom.jobs.executors import WARM

    worker = _Worker(link)
    threading.Thread(target=worker.listen, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(5)  # the window comes first
    for name in WARM:
        import_module(name)
    worker.work()


if __name__ == "__main__":
    main()
