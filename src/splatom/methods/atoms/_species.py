"""Species by amplitude: a mixture of Gaussians on one axis, with a confidence for every atom.

The scattering of annular dark field grows as up to Z^1.7 (Pennycook's rule; Krivanek et al., Nature 464, 571, 2010,
measured 1.64), so that elements, where they are named, come with the ratios of their amplitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["SpeciesFit", "atomic_numbers", "by_amplitude", "relative_scattering"]

# Annular dark field at high angles goes as Z^1.7, at lower angles and in projected potential as less.
_EXPONENTS = (0.4, 0.7, 1.0, 1.35, 1.7)
_RATIO_SPREAD = 0.2  # how far a class may lie off the ratio that its power of Z gives
_RATIO_WEIGHT = 0.05  # atoms, as a share of all, that this prior counts for
_NARROWEST = 0.01  # of the amplitudes' spread: no class shrinks onto a single atom


@dataclass(frozen=True, eq=False)
class SpeciesFit:
    """Classes of atoms by amplitude, the weakest first.

    Parameters
    ----------
    label : array (n,) of int
        The likeliest class of each atom.
    confidence : array (n,)
        The posterior probability of that class.
    names : tuple of str
        Element of each class; 'X' where none were named.
    means, widths, shares : array (k,)
        Mean amplitude, standard deviation and share of the atoms of each class.
    """

    label: NDArray[np.int64]
    confidence: Floats
    names: tuple[str, ...]
    means: Floats
    widths: Floats
    shares: Floats

    @property
    def species(self) -> NDArray[np.str_]:
        """Element of each atom, (n,)."""
        return np.array(self.names)[self.label]

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the classes as JSON values."""
        out = []
        for k, (mean, width) in enumerate(zip(self.means, self.widths, strict=True)):
            mine = self.label == k
            out.append(
                {
                    "species": self.names[k],
                    "n_atoms": int(mine.sum()),
                    "amplitude": float(f"{mean:.5g}"),
                    "width": float(f"{width:.5g}"),
                    "confidence": round(float(self.confidence[mine].mean()), 4) if mine.any() else None,
                }
            )
        return out


def atomic_numbers(elements: Sequence[str]) -> NDArray[np.int64]:
    """Return Z of each element.

    Raises
    ------
    ValueError
        If a symbol is no element's, or one is named twice.
    """
    from ase.data import atomic_numbers as table

    wrong = [e for e in elements if table.get(e, 0) == 0]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: no such element; give symbols such as Au,Pd")
    if len(set(elements)) < len(elements):
        raise ValueError(f"an element is named twice: {', '.join(elements)}")
    return np.array([table[e] for e in elements], dtype=np.int64)


def relative_scattering(elements: Sequence[str], exponent: float = 1.7) -> Floats:
    """Return Z to an exponent for each element, the heaviest being 1."""
    z = atomic_numbers(elements).astype(np.float64)
    out: Floats = (z / z.max()) ** exponent
    return out


def by_amplitude(amplitude: NDArray[np.float64], elements: Sequence[str] = (), max_classes: int = 4) -> SpeciesFit:
    """Tell species apart by amplitude.

    A mixture of Gaussians, fitted by expectation and maximisation from several starts. Where elements are named there
    are as many classes, in the order of Z, and ratios of their means near those of a power of Z are preferred; else the
    number of classes is the one of least BIC, and none has a name.

    Parameters
    ----------
    amplitude : array (n,)
    elements : sequence of str
        What the specimen consists of, in any order.
    max_classes : int
        Most classes where no elements are named.

    Raises
    ------
    ValueError
        If an element is unknown.
    """
    a = np.asarray(amplitude, dtype=np.float64)
    names = sorted(elements, key=lambda e: int(atomic_numbers([e])[0]))
    atomic_numbers(names)
    if len(a) <= max(len(names), 1) or len(names) == 1 or np.ptp(a) == 0:
        label = np.zeros(len(a), dtype=np.int64)
        fit = (np.array([a.mean() if len(a) else 0.0]), np.array([a.std() if len(a) else 0.0]), np.ones(1))
        sure = np.ones(len(a)) if len(names) == 1 else np.full(len(a), 1 / max(len(names), 1))
        return SpeciesFit(label, sure, (names[0] if names else "X",), *fit)
    if names:
        every = [relative_scattering(names, power) for power in _EXPONENTS]
        fits = [_fit(a, scale * ratios, ratios) for ratios in every for scale in _scales(a, ratios)]
        # Of fits as good as each other the one with more of the heaviest: where all atoms are alike nothing else tells.
        best = max(f[3] for f in fits)
        means, widths, shares, _ = max((f for f in fits if f[3] > best - 5), key=lambda f: float(f[2][-1]))
    else:
        candidates = [_fit(a, np.quantile(a, (np.arange(k) + 0.5) / k)) for k in range(1, max_classes + 1)]
        # BIC: 3 k − 1 free parameters.
        least = min(candidates, key=lambda f: (3 * len(f[0]) - 1) * np.log(len(a)) - 2 * f[3])
        means, widths, shares, _ = least
    order = np.argsort(means)
    means, widths, shares = means[order], widths[order], shares[order]
    posterior, _ = _posterior(a, means, widths, shares)
    labelled = tuple(names) or ("X",) * len(means)
    return SpeciesFit(posterior.argmax(axis=1), posterior.max(axis=1), labelled, means, widths, shares)


def _scales(a: Floats, ratios: Floats) -> Floats:
    """Amplitudes that the heaviest element may have: anything from all atoms being it to all being the lightest."""
    low, high = np.quantile(a[a > 0] if (a > 0).any() else np.abs(a), [0.2, 0.98])
    return np.geomspace(low, high / ratios.min(), 6)


def _posterior(a: Floats, means: Floats, widths: Floats, shares: Floats) -> tuple[Floats, float]:
    """Return the probability (n, k) of every class, and the log likelihood."""
    away = (a[:, None] - means) / widths
    # The tails belong to the outermost classes, however narrow these are.
    away[:, means.argmin()] = np.maximum(away[:, means.argmin()], -3.0)
    away[:, means.argmax()] = np.minimum(away[:, means.argmax()], 3.0)
    logs = np.log(shares) - np.log(widths) - 0.5 * away**2 - 0.5 * np.log(2 * np.pi)
    top = logs.max(axis=1, keepdims=True)
    total = np.exp(logs - top).sum(axis=1, keepdims=True)
    out: Floats = np.exp(logs - top) / total
    return out, float((top + np.log(total)).sum())


def _fit(a: Floats, means: Floats, ratios: Floats | None = None) -> tuple[Floats, Floats, Floats, float]:
    """Fit a mixture from some means: means, widths, shares, and the log likelihood (with the prior)."""
    k, n = len(means), len(a)
    least = _NARROWEST * a.std()
    widths, shares = np.full(k, max(a.std() / k, least)), np.full(k, 1 / k)
    before, score = -np.inf, -np.inf
    for _ in range(300):
        posterior, score = _posterior(a, means, widths, shares)
        weight = posterior.sum(axis=0) + 1e-9
        means = posterior.T @ a / weight
        if ratios is not None:
            scale = (weight * means * ratios).sum() / (weight * ratios**2).sum()
            strength = _RATIO_WEIGHT * n * (widths / np.maximum(_RATIO_SPREAD * abs(scale) * ratios, 1e-30)) ** 2
            expected = scale * ratios
            score -= 0.5 * float((_RATIO_WEIGHT * n * ((means - expected) / (_RATIO_SPREAD * expected)) ** 2).sum())
            means = (weight * means + strength * expected) / (weight + strength)
        spread = (posterior * (a[:, None] - means) ** 2).sum(axis=0)
        # Widths lean a little on their common value, so that a class of few atoms keeps a sane one.
        widths = np.sqrt((spread + 0.02 * n * spread.sum() / n) / (weight + 0.02 * n))
        widths = np.maximum(widths, least)
        shares = np.maximum(weight / weight.sum(), 1e-6)
        if abs(score - before) < 1e-7 * n:
            break
        before = score
    return means, widths, shares, score
