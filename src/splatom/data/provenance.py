"""What was done to a value: the steps from the file to here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

__all__ = ["Provenance", "Step"]


@dataclass(frozen=True)
class Step:
    """One method applied.

    Parameters
    ----------
    group, method : str
        The method's key.
    params : dict
        Its parameters, as JSON values.
    events : tuple
        ``(step, what)`` pairs: live changes and edits, in order; a replay applies them again.
    notes : dict
        What the method decided from the data.
    seed : int
        Seed of the run.
    stopped : int, optional
        The step at which the user stopped it; a replay stops there.
    """

    group: str
    method: str
    params: dict[str, Any] = field(default_factory=dict)
    events: tuple[tuple[int, dict[str, Any]], ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    stopped: int | None = None


@dataclass(frozen=True)
class Provenance:
    """The source file and the steps applied since.

    Parameters
    ----------
    source : str
        Path or description of where the data came from.
    steps : tuple of Step
    loading : dict
        What the reader was told or decided: angles' source, flips, pixel size, hand.
    version : str
        Version of Splatom.
    """

    source: str = ""
    steps: tuple[Step, ...] = ()
    loading: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    def then(self, step: Step) -> Provenance:
        """Return a provenance with one more step."""
        return replace(self, steps=(*self.steps, step))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Provenance:
        """Inverse of :meth:`to_dict`."""
        steps = tuple(
            Step(**{**s, "events": tuple((int(at), dict(what)) for at, what in s.get("events", ()))})
            for s in values.get("steps", ())
        )
        return cls(
            str(values.get("source", "")), steps, dict(values.get("loading", {})), str(values.get("version", ""))
        )
