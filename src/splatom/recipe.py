"""Recipes: what was done, as a file; saved, loaded, replayed, shown as Python or as commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

import splatom
from splatom.data import Provenance, Step
from splatom.io import FileFault, read
from splatom.jobs import Job, JobError, Outcome, Task, perform, prepared
from splatom.methods import get
from splatom.operators import choose_device
from splatom.options import changed_fields, option_name, to_text

__all__ = ["Recipe", "load_input"]

_GIVEN = ("angles", "pixel_size", "contrast", "axis_degrees")


def load_input(path: str | Path, kind: Any = None, given: Mapping[str, Any] | None = None) -> Any:
    """Read a file and write down what the user had to say about it, so that a recipe can say it again.

    Parameters
    ----------
    path : path
    kind : str, optional
        See :func:`splatom.io.read`.
    given : dict, optional
        ``angles``, ``pixel_size``, ``contrast``, ``axis_degrees`` as given by the user.
    """
    said = {k: v for k, v in (given or {}).items() if v is not None}
    value = read(path, kind=kind, **said)
    if not said:
        return value
    plain = {k: [float(a) for a in v] if isinstance(v, tuple | list) else v for k, v in said.items()}
    provenance = value.provenance
    return value.with_(provenance=replace(provenance, loading={**provenance.loading, "given": plain}))


@dataclass(frozen=True)
class Recipe:
    """The steps from a file to a result.

    Parameters
    ----------
    input : str
        The file that was opened.
    steps : tuple of Step
    given : dict
        What the user had to say about the file.
    output : str
        Where the result goes, if it is saved.
    version : str
    """

    input: str
    steps: tuple[Step, ...]
    given: dict[str, Any] = field(default_factory=dict)
    output: str = ""
    version: str = splatom.__version__

    @classmethod
    def from_provenance(cls, provenance: Provenance, output: str = "") -> Recipe:
        """Return the recipe of a result."""
        given = {k: v for k, v in provenance.loading.get("given", {}).items() if k in _GIVEN}
        source = provenance.source
        if not Path(source).exists():  # simulated, say, and then saved and opened
            source = str(provenance.loading.get("file", source))
        return cls(source, provenance.steps, given, output, provenance.version or splatom.__version__)

    # ---------------------------------------------------------------- files
    def to_yaml(self) -> str:
        """Return the recipe as YAML."""
        steps = []
        for step in self.steps:
            entry: dict[str, Any] = {"group": step.group, "method": step.method, "params": step.params}
            if step.seed:
                entry["seed"] = step.seed
            if step.events:
                entry["events"] = [[at, what] for at, what in step.events]
            if step.stopped is not None:
                entry["stopped"] = step.stopped
            steps.append(entry)
        out = {"splatom": self.version, "input": self.input, "given": self.given, "steps": steps, "output": self.output}
        return yaml.safe_dump({k: v for k, v in out.items() if v not in ("", {})}, sort_keys=False)

    def save(self, path: str | Path) -> None:
        """Write the recipe to a file, whole or not at all."""
        path = Path(path)
        aside = path.with_name(f".{path.name}.part")
        aside.write_text(self.to_yaml(), encoding="utf-8")
        aside.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe.

        Raises
        ------
        FileFault
            If the file is missing, is no recipe, or names a method or a parameter that does not exist.
        """
        path = Path(path)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
            raise FileFault(path, f"cannot be read as a recipe: {str(exc).splitlines()[0]}") from exc
        if not isinstance(content, dict) or not isinstance(content.get("steps"), list) or not content["steps"]:
            raise FileFault(path, "is no recipe: it has to be YAML with 'input' and a list of 'steps'")
        steps = []
        for number, entry in enumerate(content["steps"], start=1):
            try:
                params = get(entry["group"], entry["method"]).params(**entry.get("params", {}))
                dumped = {k: v for k, v in params.model_dump(mode="json").items() if k != "method"}
                events = tuple((int(at), dict(what)) for at, what in entry.get("events", ()))
                stopped = entry.get("stopped")
                steps.append(
                    Step(entry["group"], entry["method"], dumped, events, {}, int(entry.get("seed", 0)), stopped)
                )
            except (JobError, ValueError, KeyError, TypeError, AttributeError) as exc:
                fault = str(exc).replace("\n", " ") if not isinstance(exc, KeyError) else f"{exc} is missing"
                raise FileFault(path, f"step {number} is wrong: {fault}") from exc
        return cls(
            str(content.get("input", "")),
            tuple(steps),
            {k: v for k, v in dict(content.get("given") or {}).items() if k in _GIVEN},
            str(content.get("output", "")),
            str(content.get("splatom", "")),
        )

    # ---------------------------------------------------------------- doing it again
    def replay(
        self,
        data: Any = None,
        *,
        device: str = "auto",
        watch: Callable[[Step, Job[Any]], None] | None = None,
    ) -> tuple[Any, Outcome]:
        """Do all steps again: the same live changes at the same steps, stopped where it was stopped.

        Parameters
        ----------
        data : TiltSeries or other value, optional
            The input; read from the recipe's file by default.
        device : {'auto', 'cpu', 'cuda'}
        watch : callable, optional
            Called with each step and its job before it runs.

        Returns
        -------
        result : object
        outcome : Outcome
            Of the last step.

        Raises
        ------
        JobError, FileFault
        """
        value = load_input(self.input, None, self.given) if data is None else data
        chosen = choose_device(device)
        outcome = Outcome("done", value)
        for step in self.steps:
            params = get(step.group, step.method).params(**step.params)
            task = Task(
                step.group, step.method, params, value, chosen, step.seed, replay=step.events, stop_at=step.stopped
            )
            job = prepared(task)
            if isinstance(job, JobError):
                raise job
            if watch is not None:
                watch(step, job)
            outcome = perform(task, job)
            if outcome.error is not None:
                raise outcome.error
            value = outcome.result
            if outcome.status == "stopped" and step.stopped is None:
                break
        return value, outcome

    # ---------------------------------------------------------------- showing it
    def to_python(self) -> str:
        """Return the recipe as a Python script."""
        said = "".join(f", {k}={v!r}" for k, v in self.given.items())
        lines = ["import splatom", "", f"data = splatom.read({self.input!r}{said})"]
        for step in self.steps:
            params = "".join(f", {k}={_literal(v)}" for k, v in _changed(step).items())
            seed = f", seed={step.seed}" if step.seed else ""
            lines.append(f'data = splatom.run("{step.group}", "{step.method}", data{params}{seed})')
            lines += _remarks(step, "#")
        lines.append(f"splatom.write({self.output or 'result.' + self._suffix()!r}, data)")
        return "\n".join(lines) + "\n"

    def to_commands(self) -> str:
        """Return the recipe as commands, one a line."""
        lines, source = [], self.input
        for number, step in enumerate(self.steps, start=1):
            last = number == len(self.steps)
            target = (self.output or f"result.{self._suffix()}") if last else f"step{number}.npz"
            words = ["splatom", step.group, step.method, source, target]
            if number == 1:
                for k, v in self.given.items():
                    words += [option_name(f"input_{k}"), to_text(v)]
            for k, v in _changed(step).items():
                words += [option_name(k) if v is not False else option_name(f"no_{k}")]
                words += [] if isinstance(v, bool) else [to_text(v)]
            if step.seed:
                words += ["--seed", str(step.seed)]
            lines += [shlex.join(words), *_remarks(step, "#")]
            source = target
        return "\n".join(lines) + "\n"

    def _suffix(self) -> str:
        last = self.steps[-1].group if self.steps else ""
        return {"reconstruct": "mrc", "atoms": "xyz"}.get(last, "npz")


def _changed(step: Step) -> dict[str, Any]:
    return changed_fields(get(step.group, step.method).params(**step.params))


def _literal(value: Any) -> str:
    return repr(tuple(value)) if isinstance(value, list) else repr(value)


def _remarks(step: Step, sign: str) -> list[str]:
    """Say what a plain call cannot: live changes and an early stop; the recipe file replays them."""
    out = [f"{sign} at step {at}: {what}" for at, what in step.events]
    if step.stopped is not None:
        out.append(f"{sign} stopped by hand at step {step.stopped}; a recipe file replays that")
    return out
