"""Gauss-Newton with conjugate gradients: all atoms move together, and the views with them.

Some twenty atoms overlap wherever one is seen, and each would correct the whole of the same residual: steps of every
atom on its own diverge. Here the coupled normal equations are solved a few iterations deep by conjugate gradients,
preconditioned atom by atom and view by view with the closed-form overlaps of a Gaussian with its own derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch

from splatom.methods.atoms._model import CALIBRATION, Linear, Model, State, Vector

__all__ = ["Prior", "Step", "blocks", "descend", "solve"]

_PARTS = (1.0, 0.3, 0.1)  # of a step that are tried: near atoms make the model less linear than it is taken to be
_OVERLAP = 8.0  # atoms that share a class's width also share pixels: its curvature is about so much above their sum


@dataclass(frozen=True)
class Prior:
    """Quadratic penalties ½ Σ precision (unknown − centre)², in units of the data's squared residual.

    Parameters
    ----------
    precision, centre : dict
        By the name of the unknown; a centre that is not named is zero.
    """

    precision: Vector = field(default_factory=dict)
    centre: Vector = field(default_factory=dict)

    def value(self, state: State) -> float:
        """Return the penalty of a state."""
        return sum(0.5 * float((p * self._off(state, k).square()).sum()) for k, p in self.precision.items())

    def gradient(self, state: State) -> Vector:
        """Return its gradient by the unknowns it names."""
        return {k: p * self._off(state, k) for k, p in self.precision.items()}

    def _off(self, state: State, name: str) -> torch.Tensor:
        value: torch.Tensor = getattr(state, name)
        return value - self.centre[name] if name in self.centre else value


@dataclass(frozen=True)
class Step:
    """One step of :func:`descend`: where it led, and how far atoms moved (rms, pixels)."""

    linear: Linear
    objective: float
    moved: float
    better: bool


def dot(a: Vector, b: Vector) -> float:
    """Inner product of two directions."""
    return sum(float((a[k].double() * b[k]).sum()) for k in a)


def _plus(a: Vector, x: float, b: Vector) -> Vector:
    return {k: a[k] + x * b[k] for k in a}


def blocks(linear: Linear) -> tuple[torch.Tensor, torch.Tensor]:
    """Curvature of every atom on its own: by position (n, 3, 3), order (z, y, x), and by mass (n,).

    The integrals of N², (∂N/∂x)² over the plane are 1/(4πσ²) and 1/(8πσ⁴).
    """
    state, model = linear.state, linear.model
    var = state.sigma.square()
    columns, rows, _ = model.projector.seen(state.centres, state.sigma, shifts=state.shifts, turns=state.turns)
    high, wide = model.data.shape[1:]
    at = rows.round().long().clamp_(0, high - 1) * wide + columns.round().long().clamp_(0, wide - 1)
    inside = (columns > -0.5) & (columns < wide - 0.5) & (rows > -0.5) & (rows < high - 0.5)
    weight = model.weights.flatten(1).gather(1, at) * inside * (2 * state.log_gain).exp()[:, None]  # (v, n)
    axes = model.rotations[:, :2].flip(-1)  # (v, 2, 3): how (z, y, x) moves (column, row)
    outer = torch.einsum("vai,vaj->vij", axes, axes)
    scale = state.mass.clamp_min(1e-6 * float(state.mass.median())).square() / (8 * np.pi * var.square())
    position = torch.einsum("vn,vij->nij", weight, outer) * scale[:, None, None]
    return position, weight.sum(0) / (4 * np.pi * var)


def _preconditioner(
    linear: Linear, names: tuple[str, ...], prior: Prior, damping: torch.Tensor
) -> Callable[[Vector], Vector]:
    state, model = linear.state, linear.model
    position, mass = blocks(linear)
    trace = position.diagonal(dim1=1, dim2=2).sum(1)
    eye = torch.eye(3, device=trace.device)
    floor = 1e-3 * trace / 3 + 1e-6 * float(trace.mean()) + 1e-20
    inverse = torch.linalg.inv(position + (damping + floor)[:, None, None] * eye)
    diagonal: Vector = {"mass": mass + 1e-6 * float(mass.mean()) + 1e-20}
    views = len(model.data)
    if "log_width" in names:
        by_class = torch.bincount(state.klass, trace * state.sigma.square(), minlength=len(state.log_width))
        diagonal["log_width"] = _OVERLAP * by_class + 1e-6 * float(trace.sum())
    if "shifts" in names or "turns" in names:
        pull = float(trace.sum()) / (2 * views)
        reach = state.centres.square().mean(0)  # (z, y, x)
        diagonal["shifts"] = _OVERLAP * pull * torch.ones(views, 2, device=trace.device)
        lever = torch.stack([reach[0] + reach[2], reach[0] + reach[2], reach[1] + reach[2]])
        diagonal["turns"] = _OVERLAP * pull * lever.clamp_min(1.0).expand(views, 3)
    if "log_gain" in names:
        diagonal["log_gain"] = (model.weights * linear.seen.square()).sum((1, 2)) + 1e-20
    if "background" in names:
        diagonal["background"] = torch.einsum("vrc,krc->vk", model.weights, model.smooth.square()) + 1e-20
    for name, precision in prior.precision.items():
        if name in diagonal:
            diagonal[name] = diagonal[name] + precision

    def apply(r: Vector) -> Vector:
        out = {k: r[k] / diagonal[k] for k in r if k != "centres"}
        if "centres" in r:
            out["centres"] = torch.einsum("nij,nj->ni", inverse, r["centres"])
        return out

    return apply


def solve(
    linear: Linear, right: Vector, prior: Prior, damping: float, iterations: int, tolerance: float
) -> Vector:
    """Solve (JᵀWJ + prior + damping) d = right by preconditioned conjugate gradients.

    Parameters
    ----------
    linear : Linear
    right : dict
        Its names are the unknowns that move.
    prior : Prior
    damping : float
        Levenberg's, relative to each atom's own curvature.
    iterations : int
    tolerance : float
        Of the preconditioned residual, relative.
    """
    names = tuple(right)
    position, _ = blocks(linear)
    held = damping * position.diagonal(dim1=1, dim2=2).sum(1) / 3
    precondition = _preconditioner(linear, names, prior, held)
    x = {k: torch.zeros_like(v) for k, v in right.items()}
    r, z = right, precondition(right)
    q, rz = z, dot(right, z)
    first = rz
    for _ in range(iterations):
        image = linear.adjoint(linear.forward(q), names)
        if "centres" in image:
            image["centres"] = image["centres"] + held[:, None] * q["centres"]
        for name, precision in prior.precision.items():
            if name in image:
                image[name] = image[name] + precision * q[name]
        along = rz / max(dot(q, image), 1e-300)
        x, r = _plus(x, along, q), _plus(r, -along, image)
        z = precondition(r)
        now = dot(r, z)
        if now <= tolerance**2 * first:
            break
        q, rz = _plus(z, now / rz, q), now
    return x


def moved(state: State, d: Vector, longest: float, positive: bool, bounds: Mapping[str, float]) -> State:
    """Return the state after a step; atoms move by at most ``longest`` pixels, widths by 15 %.

    The means over the views of shifts, turns and log gains stay zero: the specimen's frame and scale do not wander.
    Nor does any of them pass its bound.
    """
    changes = {}
    if "centres" in d:
        length = d["centres"].norm(dim=1, keepdim=True).clamp_min(1e-12)
        changes["centres"] = state.centres + d["centres"] * (longest / length).clamp_max(1.0)
    if "mass" in d:
        mass = state.mass + d["mass"]
        changes["mass"] = mass.clamp_min(0.0) if positive else mass
    if "log_width" in d:
        changes["log_width"] = state.log_width + d["log_width"].clamp(-0.15, 0.15)
    for name in CALIBRATION:
        if name in d:
            value = getattr(state, name) + d[name]
            value = value if name == "background" else value - value.mean(0)
            changes[name] = value.clamp(-bounds[name], bounds[name]) if name in bounds else value
    return state.with_(**changes)


def descend(
    model: Model,
    state: State,
    names: tuple[str, ...],
    prior: Prior,
    *,
    steps: int,
    iterations: int,
    damping: float = 1e-2,
    longest: float = 0.5,
    settled: float = 1e-4,
    positive: bool = True,
    bounds: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Step]:
    """Walk downhill, one Gauss-Newton step at a time, until steps are done or the loss falls by less than ``settled``.

    Parameters
    ----------
    model : Model
    state : State
    names : tuple of str
        The unknowns that move.
    prior : Prior
        Penalties on unknowns that are not among the names are left out.
    steps, iterations : int
        Of Gauss-Newton, and of conjugate gradients in each.
    damping : float
        Levenberg's to begin with; it falls when steps succeed and rises when they fail.
    longest : float
        Longest move of an atom in a step, pixels.
    settled : float
        Relative fall of the objective in a step below which to end.
    positive : bool
        Whether masses stay non-negative.
    bounds : dict
        Largest size of calibration unknowns, by name.

    Yields
    ------
    Step
        The best state so far after each step, and whether the step was one downhill.
    """
    prior = Prior({k: v for k, v in prior.precision.items() if k in names}, prior.centre)
    linear = model.at(state)
    objective = linear.loss + prior.value(state)
    for _ in range(steps):
        gradient = linear.adjoint(linear.residual, names)
        for name, g in prior.gradient(linear.state).items():
            gradient[name] = gradient[name] + g
        right = {k: -g for k, g in gradient.items()}
        d = solve(linear, right, prior, damping, iterations, 0.05)
        for part in _PARTS:
            trial = model.at(moved(linear.state, {k: part * v for k, v in d.items()}, longest, positive, bounds))
            value = trial.loss + prior.value(trial.state)
            better = bool(np.isfinite(value)) and value < objective
            if better:
                break
        rms = float(d["centres"].square().sum(1).mean().sqrt()) if "centres" in d else 0.0
        if not better:
            damping = max(30 * damping, 1e-2)
            yield Step(linear, objective, rms, False)
            if damping > 10:  # twice in a row
                return
            continue
        fell, objective, linear = objective - value, value, trial
        damping = max(damping / 3, 1e-5) if part == 1 else 3 * damping
        yield Step(linear, objective, rms, True)
        if fell < settled * objective:
            return
