"""How far off an atom may be: the fit's own covariance, with the neighbours' and the views' errors in it.

The inverse of an atom's own block of JᵀWJ takes its neighbours and the calibration as known and comes out too small.
The whole inverse is too large to write down, but it can be sampled: solving JᵀWJ d = JᵀW^½ε for white noise ε gives d
with just that covariance. A few samples per atom are too few for its own variance; but the ratio of sampled variance to
that of the atom's own block varies little from an atom to the next, so it is averaged over the nearest atoms (ours).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.methods.atoms._classes import probe
from splatom.methods.atoms._newton import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.methods.atoms._model import Linear
    from splatom.methods.atoms._newton import Prior

    Floats = NDArray[np.float64]

__all__ = ["residual_variance", "sampled"]

_NEAREST = 40
_ITERATIONS = 30


def residual_variance(linear: Linear, unknowns: int) -> float:
    """Variance of a pixel of weight one, from what the fit leaves over."""
    pixels = int((linear.model.weights > 0).sum())
    return 2 * linear.loss / max(pixels - unknowns, pixels // 10, 1)


def sampled(
    linear: Linear,
    noise: float,
    prior: Prior,
    names: tuple[str, ...],
    samples: int,
    seed: int,
    each: Callable[[int], object],
) -> tuple[Floats, Floats]:
    """Return standard deviations of positions (n, 3), order (z, y, x), and of masses (n,), in working pixels.

    Parameters
    ----------
    linear : Linear
        The fit.
    noise : float
        Variance of a pixel of weight one.
    prior : Prior
        The penalties that were fitted with.
    names : tuple of str
        The unknowns that were fitted; their errors are in the result.
    samples : int
    seed : int
    each : callable
        Called with the number of samples drawn so far.
    """
    from scipy.spatial import cKDTree

    moved, weighed = [], []
    for k in range(samples):
        d = probe(linear, noise, prior, names, seed + k, _ITERATIONS)
        off = d["centres"].cpu().numpy().astype(np.float64)
        moved.append(off - off.mean(axis=0))  # the specimen as a whole may lie anywhere
        weighed.append(d["mass"].cpu().numpy().astype(np.float64))
        each(k + 1)
    position, mass = blocks(linear)
    alone = np.linalg.inv(_invertible(position.cpu().numpy().astype(np.float64))).diagonal(axis1=1, axis2=2) * noise
    mass_alone = noise / np.maximum(mass.cpu().numpy().astype(np.float64), 1e-30)
    at = linear.state.centres.cpu().numpy()
    near = cKDTree(at).query(at, min(_NEAREST, len(at)))[1].reshape(len(at), -1)

    def widened(drawn: NDArray[Any], own: NDArray[Any]) -> Floats:
        ratio = (drawn**2).mean(axis=0) / own
        out: Floats = np.sqrt(own * np.mean(np.minimum(ratio, np.quantile(ratio, 0.999, axis=0))[near], axis=1))
        return out

    return widened(np.array(moved), alone), widened(np.array(weighed), mass_alone)


def _invertible(matrices: Floats) -> Floats:
    """Add a little to the diagonal of matrices of atoms that hardly any view sees."""
    trace = matrices.trace(axis1=1, axis2=2)
    floor = 1e-6 * trace + 1e-6 * float(np.median(trace)) + 1e-30
    out: Floats = matrices + floor[:, None, None] * np.eye(3)
    return out
