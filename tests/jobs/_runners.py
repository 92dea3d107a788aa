"""Small real methods for the tests of jobs: they count."""

from __future__ import annotations

import time
from functools import partial
from typing import Literal

import numpy as np

from splatom.data import MethodParams, Volume, option


class CountParams(MethodParams):
    """Count."""

    method: Literal["count"] = "count"
    iterations: int = option(200, "Iterations", "How far.", live=True, ge=1, le=10_000)
    step: int = option(1, "Step", "By what.", ge=1)
    pause: float = option(0.005, "Pause", "Seconds.", ge=0)


def _volume(x):
    return Volume(x.copy())


def count(group, name, data, job):
    """Add one to every voxel, once a step."""
    state = job.restore()
    x = data.data.copy() if state is None else np.array(state["x"])
    done = job.step
    with job.keeping_partial():
        while done < job.params.iterations:
            x += job.params.step
            done += 1
            time.sleep(job.params.pause)
            show, keep = partial(_volume, x), partial(dict, x=x)
            job.tick(done, job.params.iterations, show, figures={"loss": 1 / done}, state=keep)
    return Volume(x)


def starve(group, name, data, job):
    """Fail as PyTorch does when a GPU is full."""
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB (GPU 0; 8.00 GiB total capacity)")


def die(group, name, data, job):
    """End the process as a crash does."""
    import os

    os._exit(7)


def dwell(group, name, data, job):
    """One long pass that only checks."""
    job.tick(1, 2)
    for _ in range(10_000):
        time.sleep(0.005)
        job.check()
    return data


def beside(group, name, data, job):
    """Hand over a second volume."""
    job.attach("doubled", Volume(data.data + 2), "twice as much", highest=4.0)
    return data
