"""Atoms of one element have one mass: classes of atoms, and how firmly the masses of each are tied together.

The masses of a class are taken as normal about its mean. How far they truly scatter is what they show beyond the
scatter that noise gives them, which one random solve of the normal equations tells: with right-hand side JᵀWε, ε noise
like that of the images, the solution's covariance is that of the fit (ours; an empirical Bayes estimate, repeated every
round).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from splatom.methods.atoms._newton import Prior, solve
from splatom.methods.atoms._species import SpeciesFit, by_amplitude

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.methods.atoms._model import Linear, State, Vector

__all__ = ["classes_of", "free_masses", "half_the_lightest", "probe", "tie"]

_LEAST_SPREAD = 0.02  # thermal motion and channelling make the atoms of an element differ by so much at least
_APART = 1.2  # of two classes' means, in the sum of their widths, to call them two
_SPECIES = 0.05  # of all atoms: fewer may be errors of a kind
_WIDTH_SPREAD = 0.1  # by which classes' widths may differ, as a logarithm


def probe(linear: Linear, noise: float, prior: Prior, names: tuple[str, ...], seed: int, iterations: int) -> Vector:
    """Draw an error of the fit: a sample whose covariance is that of the unknowns under noise and prior.

    Parameters
    ----------
    linear : Linear
    noise : float
        Variance of a pixel of weight one.
    prior : Prior
        Its precisions act, its centres do not.
    names : tuple of str
        The unknowns that are fitted.
    seed : int
    iterations : int
        Of conjugate gradients.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: torch.Size) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(linear.residual.device)

    right = linear.adjoint(linear.like_residual(normal(linear.residual.shape)) * noise**0.5, names)
    for name, precision in prior.precision.items():
        if name in right:
            right[name] = right[name] + normal(right[name].shape) * (noise * precision).sqrt()
    return solve(linear, right, prior, 1e-4, iterations, 1e-3)


def classes_of(mass: torch.Tensor, elements: Sequence[str]) -> SpeciesFit:
    """Return the classes of atoms: one for each named element, else as many as stand apart."""
    amplitude = mass.cpu().numpy().astype(np.float64)
    if elements:
        return by_amplitude(amplitude, elements)
    for most in (4, 3, 2):
        found = by_amplitude(amplitude, (), most)
        gaps = np.diff(found.means) / (found.widths[1:] + found.widths[:-1])
        if len(found.means) == 1 or (gaps > _APART).all():
            return found
    return by_amplitude(amplitude, (), 1)


def half_the_lightest(mass: torch.Tensor, elements: Sequence[str]) -> float:
    """Return half the mean mass of the lightest species: what is lighter is no atom.

    Where no elements are named, a class has to hold a twentieth of the atoms to be a species.
    """
    found = classes_of(mass, elements)
    share = np.bincount(found.label, minlength=len(found.means)) / max(len(found.label), 1)
    species = found.means[(share >= _SPECIES) | bool(elements)]
    return 0.5 * float(species.min())


def tie(
    linear: Linear, noise: float, colour: float, elements: Sequence[str], seed: int
) -> tuple[State, Prior]:
    """Sort atoms into classes, each with its own width, and say how firmly the masses of each are held together.

    Parameters
    ----------
    linear : Linear
    noise : float
        Variance of a pixel of weight one.
    colour : float
        The noise's power where atoms are, in its mean power.
    elements : sequence of str
    seed : int

    Returns
    -------
    state : State
        With classes and a width for each.
    prior : Prior
        On mass and log_width.
    """
    state = linear.state
    free = free_masses(linear)
    found = classes_of(free, elements)
    mass = free.cpu().numpy().astype(np.float64)
    error = probe(linear, noise, Prior(), ("mass",), seed, 15)["mass"].cpu().numpy()
    k = len(found.means)
    deviation = np.empty(k)
    for c in range(k):
        mine = found.label == c
        # What the masses show is their own scatter and that of the noise together.
        true = float(((mass[mine] - found.means[c]) ** 2 - error[mine] ** 2).mean()) if mine.any() else 0.0
        deviation[c] = max(np.sqrt(max(true, 0.0)), _LEAST_SPREAD * found.means[c], 1e-30)
    away = (mass[:, None] - found.means) / found.widths
    logs = np.log(found.shares) - np.log(found.widths) - 0.5 * np.minimum(away**2, 40.0)
    share = np.exp(logs - logs.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    precision = (share / deviation**2).sum(axis=1)
    centre = (share * found.means / deviation**2).sum(axis=1) / precision

    def tensor(values: NDArray[np.float64]) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=state.mass.device)

    widths = state.sigma.log().cpu().numpy().astype(np.float64)
    common = float(widths.mean())
    per_class = np.array([widths[found.label == c].mean() if (found.label == c).any() else common for c in range(k)])
    noise = noise * colour
    prior = Prior(
        {"mass": tensor(noise * precision), "log_width": tensor(np.full(k, noise / _WIDTH_SPREAD**2))},
        {"mass": tensor(centre), "log_width": tensor(np.full(k, common))},
    )
    label = torch.as_tensor(found.label, device=state.mass.device)
    return state.with_(klass=label, log_width=tensor(per_class)), prior


def free_masses(linear: Linear) -> torch.Tensor:
    """Return the masses (n,) that the images alone ask for, the atoms staying where they are."""
    right = {"mass": -linear.adjoint(linear.residual, ("mass",))["mass"]}
    return linear.state.mass + solve(linear, right, Prior(), 1e-4, 20, 1e-2)["mass"]
