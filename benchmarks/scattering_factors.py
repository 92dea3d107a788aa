"""Print the table in `splatom.simulate.scattering`: three Lorentzians fitted to Lobato's electron scattering factors.

Needs the extra `bench` (abTEM, whose parametrisation is that of Lobato and Van Dyck, Acta Cryst. A 70, 636, 2014).
"""

from __future__ import annotations

import numpy as np


def model(p: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Σ a / (1 + (k/b)²) for p = log of (a, a, a, b, b, b); k in 1/nm, a in nm."""
    heights, widths = np.exp(p).reshape(2, 3, 1)
    return (heights / (1 + (k / widths) ** 2)).sum(axis=0)


def fit(factor: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Least relative deviation, best of a few starts; beyond 15/nm it counts half."""
    from scipy.optimize import least_squares

    weight = np.where(k < 15, 1.0, 0.5)
    starts = (np.random.default_rng(seed).normal(0, 0.3, 3) for seed in range(6))
    fits = [
        least_squares(
            lambda p: (model(p, k) / factor - 1) * weight,
            np.log(np.concatenate([factor[0] * np.array([0.5, 0.4, 0.1]), np.array([2.0, 6.0, 20.0]) * np.exp(s)])),
            bounds=(-16.0, 6.0),
            max_nfev=600,
        )
        for s in starts
    ]
    return np.asarray(min(fits, key=lambda f: f.cost).x)


def main() -> None:
    from abtem.parametrizations import LobatoParametrization
    from ase.data import chemical_symbols

    k = np.concatenate([np.linspace(0, 15, 151), np.linspace(15.2, 30, 75)])
    lobato, worst = LobatoParametrization(), 0.0
    for z in range(1, 99):
        factor = np.asarray(lobato.scattering_factor(chemical_symbols[z])((k / 10) ** 2)) / 10
        p = fit(factor, k)
        worst = max(worst, np.abs(model(p, k) / factor - 1)[k < 15].max())
        heights, widths = np.exp(p).reshape(2, 3)[:, np.argsort(p[3:])]
        print(chemical_symbols[z], *(f"{h:.4g}" for h in heights), *(f"{w:.4g}" for w in widths))
    print(f"# largest deviation below 15/nm: {worst:.3f}")


if __name__ == "__main__":
    main()
