"""Jobs: how work runs, reports, stops and is steered. No Qt, no napari."""

from splatom.jobs.checkpoint import CheckpointStore, fingerprint
from splatom.jobs.errors import JobError, Stopped, explain
from splatom.jobs.executors import Outcome, ProcessExecutor, RunningJob, Task, ThreadExecutor, perform, prepared
from splatom.jobs.job import Extra, Job
from splatom.jobs.mailbox import Mailbox, Snapshot

__all__ = [
    "CheckpointStore",
    "Extra",
    "Job",
    "JobError",
    "Mailbox",
    "Outcome",
    "ProcessExecutor",
    "RunningJob",
    "Snapshot",
    "Stopped",
    "Task",
    "ThreadExecutor",
    "explain",
    "fingerprint",
    "perform",
    "prepared",
]
