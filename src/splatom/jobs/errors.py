"""Errors that cross from a job to a person."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["JobError", "Stopped", "explain"]


class Stopped(Exception):
    """Raised inside a job at a tick after a stop was asked for."""


class JobError(Exception):
    """A fault told in one line: what happened and what to do.

    Deliberately no RuntimeError: napari's generator workers swallow those.
    """


_SIZES = re.compile(r"(?:Tried to allocate|allocate)\s+([\d.]+\s*(?:[KMGT]i?B|bytes))", re.IGNORECASE)
_HEAVY = (
    # field, what to say; the first that the method has and that helps is named
    ("depth", "a smaller depth"),
    ("thickness", "a smaller thickness"),
    ("patch", "a smaller patch"),
    ("batch", "a smaller batch"),
    ("gaussians", "fewer Gaussians"),
)


def explain(exc: BaseException, params: Any = None, device: str = "") -> JobError:
    """Turn any exception of a job into a :class:`JobError` with advice.

    Parameters
    ----------
    exc : BaseException
    params : MethodParams, optional
        To name the parameter that would help.
    device : str
        Where the job ran.
    """
    if isinstance(exc, JobError):
        return exc
    text = str(exc).strip()
    first = text.splitlines()[0] if text else type(exc).__name__
    starved = isinstance(exc, MemoryError) or "OutOfMemory" in type(exc).__name__ or "out of memory" in text.lower()
    if starved or "can't allocate memory" in text.lower() or "Unable to allocate" in text:
        asked = _SIZES.search(text)
        size = f" ({asked.group(1)} asked for)" if asked else ""
        fields = getattr(type(params), "model_fields", {})
        lower = next((advice for name, advice in _HEAVY if name in fields), "")
        tips = [t for t in (lower, "a binned or cropped series (prepare bin, prepare crop)") if t]
        if device.startswith("cuda"):
            tips.append("device 'cpu'")
        where = "the GPU" if device.startswith("cuda") or "CUDA" in text else "the computer"
        return JobError(f"out of memory on {where}{size}: try {' or '.join(tips)}")
    if isinstance(exc, ValueError | OSError | ImportError):
        return JobError(first)
    return JobError(f"{type(exc).__name__}: {first}")
