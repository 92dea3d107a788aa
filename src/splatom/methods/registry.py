"""Finding methods and running one."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

import splatom
from splatom.data import Atoms, GaussianCloud, MethodParams, Step, TiltSeries, Volume
from splatom.jobs.errors import JobError
from splatom.jobs.job import Job

__all__ = ["GROUPS", "Method", "execute", "find", "get", "run"]

GROUPS = ("prepare", "denoise", "interpolate", "reconstruct", "atoms")


@dataclass(frozen=True)
class Method:
    """One method: its key, its parameters' model and its function."""

    group: str
    name: str
    params: type[MethodParams]
    function: Callable[[Any, Job[Any]], Any]

    @property
    def summary(self) -> str:
        """First line of the parameters' docstring."""
        return (inspect.getdoc(self.params) or "").partition("\n")[0].rstrip(".")

    @property
    def description(self) -> str:
        """The rest of the docstring: what it does, and its source."""
        return (inspect.getdoc(self.params) or "").partition("\n")[2].strip()

    @property
    def defaults(self) -> dict[str, Any]:
        """Name and default of every parameter, as JSON values."""
        return {k: v for k, v in self.params().model_dump(mode="json").items() if k != "method"}


def _from_module(group: str, name: str, module: ModuleType) -> Method:
    models = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, MethodParams) and c.__module__ == module.__name__
    ]
    if len(models) != 1 or not callable(getattr(module, "run", None)):
        raise TypeError(f"{module.__name__} has to define one MethodParams subclass and a function run")
    declared = models[0].model_fields["method"].default
    return Method(group, declared or name, models[0], module.run)


@cache
def find() -> dict[tuple[str, str], Method]:
    """All methods by (group, name): those of this package by folder, others by entry point. Imports no torch."""
    out: dict[tuple[str, str], Method] = {}
    for group in GROUPS:
        package = import_module(f"splatom.methods.{group}")
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            if not info.name.startswith("_"):
                method = _from_module(group, info.name, import_module(f"{package.__name__}.{info.name}"))
                out[group, method.name] = method
    for point in entry_points(group="splatom.methods"):
        group, _, name = point.name.partition(".")
        if group in GROUPS and (group, name) not in out:
            out[group, name] = replace(_from_module(group, name, point.load()), name=name)
    return out


def get(group: str, name: str) -> Method:
    """Return one method.

    Raises
    ------
    JobError
        If there is none; the message lists those there are.
    """
    method = find().get((group, name))
    if method is None:
        known = ", ".join(sorted(n for g, n in find() if g == group)) or "none yet"
        raise JobError(f"no method '{name}' to {group} with; there are: {known}")
    return method


def execute(group: str, name: str, data: Any, job: Job[Any]) -> Any:
    """Run a method and write the step into the result's provenance.

    Raises
    ------
    Stopped
        If it was stopped with nothing worth keeping.
    """
    from splatom.operators.device import choose_device

    method = get(group, name)
    job.device = choose_device(job.device)  # 'auto' is settled where the work is done: asking takes torch
    first = job.params.model_dump(mode="json")
    result = method.function(data, job)
    step = Step(
        group,
        name,
        {k: v for k, v in first.items() if k != "method"},
        tuple(job.events),
        dict(job.notes),
        job.seed,
        job.stopped_at,
    )

    def recorded(value: Any) -> Any:
        if not isinstance(value, TiltSeries | Volume | GaussianCloud | Atoms):
            return value
        before = getattr(data, "provenance", value.provenance)
        return replace(value, provenance=replace(before.then(step), version=splatom.__version__))

    job.extras.update({k: replace(extra, value=recorded(extra.value)) for k, extra in job.extras.items()})
    return recorded(result)


def run(
    group: str,
    name: str,
    data: Any,
    *,
    device: str = "auto",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **params: Any,
) -> Any:
    """Run one method and wait for its result.

    Parameters
    ----------
    group, name : str
        The method's key, for example ``"reconstruct", "sirt"``.
    data : TiltSeries, Volume, GaussianCloud or Atoms
        Its input; it is not changed.
    device : {'auto', 'cpu', 'cuda'}
    seed : int
    progress : callable, optional
        Called with (step, total).
    **params
        Fields of the method's parameters; see ``splatom methods``.

    Raises
    ------
    JobError
        Unknown method, or a fault with advice.
    pydantic.ValidationError
        A parameter that is unknown or out of bounds.
    """
    from splatom.operators.device import choose_device

    job = Job(get(group, name).params(**params), device=choose_device(device), seed=seed)
    if progress is not None:
        tick = job.tick

        def reporting(step: int, total: int, *args: Any, **kwargs: Any) -> Any:
            progress(step, total)
            return tick(step, total, *args, **kwargs)

        job.tick = reporting  # type: ignore[method-assign]
    return execute(group, name, data, job)
