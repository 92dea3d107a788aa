"""What the constants of `reconstruct temdiff` that training decides should be: on held-out specimens of its kinds.

The specimens are of the generators that the priors learn from, at seeds that no training draws; the benchmark's own
specimens have no part in it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.jobs import Job
from splatom.methods import get
from splatom.training.volumes import KINDS, Measured, measured

RANGES = (4.0, 6.0, 10.0, 20.0, 35.0, 60.0)
SIZE = 40
SEED = 2**33  # training's seeds and its validation's are below
INSIDE = 0.05  # of the highest density
QUANTILE = 0.94  # of the voxels inside whose error lies within two spreads, in the mean over specimens


def drawn(kind: Any, half: float, number: int) -> Measured:
    """Draw a specimen that lies within the field."""
    rng = np.random.default_rng([SEED, round(100 * half), number])
    while True:
        found = measured(kind, (SIZE,) * 3, rng, half_range=half)
        if not found.beside:
            return found


Rows = list[tuple[np.ndarray, np.ndarray]]


def calibration(weights: dict[str, Path | None], kinds: tuple[str, ...], repeats: int = 2) -> Rows:
    """Print by how much the priors' surprise differs between the kinds, and what the spread should be made of.

    Returns what that is fitted to: of each specimen the parts of the spread (3, voxels), and the errors (voxels,).
    """
    import torch

    from splatom.methods.reconstruct import _temdiff_choice as choice
    from splatom.methods.reconstruct._problem import Box, make_problem
    from splatom.methods.reconstruct._temdiff_data import _near, scattered, undecided
    from splatom.methods.reconstruct._temdiff_loop import Sampler
    from splatom.methods.reconstruct._temdiff_prior import Prior
    from splatom.weights import load

    nets = {kind: load("temdiff", f"small-{kind}", weights[kind])[0] for kind in KINDS}
    differences: dict[str, list[float]] = {kind: [] for kind in kinds}
    rows: Rows = []
    for kind in kinds:
        given: dict[str, Any] = {"prior": kind} if weights[kind] is None else {"weights": weights[kind]}
        for half in RANGES:
            for number in range(repeats):
                specimen = drawn(kind, half, number)
                series = TiltSeries(specimen.images, ViewGeometry.single_axis(specimen.angles), pixel_size=1.0)
                params = get("reconstruct", "temdiff").params(
                    specimen="isolated", subtract_background=False, samples=3, steps=12, align="off", **given
                )
                job: Job[Any] = Job(params)
                box = Box((SIZE,) * 3, (SIZE,) * 3)
                problem = make_problem(series, box, True, job)
                sampler = Sampler.begun(series, box, problem, job, None)
                condition = sampler.walk.prior.condition
                told = {
                    k: choice._surprise(Prior(net, k, None, condition, 64, 16, lambda: None)) for k, net in nets.items()
                }
                differences[kind].append(told["materials"] - told["biological"])
                sampler.run()
                walk = sampler.walk
                best = torch.from_numpy(np.array(sampler.result()[0].data)) / walk.evidence.scale
                open_, _, _ = undecided(problem, walk.evidence.precision(), best)
                parts = [scattered(sampler.squares, 3), _near((best - sampler.steady).square()), open_]
                truth = specimen.density / walk.evidence.scale
                inside = truth > INSIDE * truth.max()
                error = (best.numpy() - truth)[inside]
                rows.append((np.stack([p.numpy()[inside] for p in parts]), error))
                covered = [float((error**2 <= 4 * p).mean()) for p in rows[-1][0]]
                print(f"    {kind} ±{half:g}°: surprise {differences[kind][-1]:+.2f}, trust {sampler.trust:.2f}, "
                      f"covered by scatter, change, open alone {np.round(covered, 2)}", flush=True)  # fmt: skip
    for kind, values in differences.items():
        print(f"  surprise of materials over biological, on {kind}: {np.round(np.sort(values), 2)}")
    shares, covered = fitted(rows)
    print(f"  shares of the spread: scatter, change, open {np.round(shares, 3)}; covered {np.round(covered, 2)}")
    return rows


def fitted(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Fit shares by the likelihood of the errors, each specimen counting alike; then scale them to the quantile."""
    from scipy.optimize import brentq, minimize

    rng = np.random.default_rng(0)
    picked = []
    for parts, error in rows:
        some = rng.integers(len(error), size=4000)
        picked.append((parts[:, some], error[some]))

    def surprise(logs: np.ndarray) -> float:
        shares = np.exp(logs)
        total = 0.0
        for parts, error in picked:
            variance = np.maximum(shares @ parts, 1e-8)
            total += float((np.log(variance) + error**2 / variance).mean())
        return total

    shares = np.exp(minimize(surprise, np.log([1.0, 0.3, 0.1]), method="Nelder-Mead", options={"maxiter": 600}).x)

    def coverage(by: float) -> np.ndarray:
        return np.array([(error**2 <= 4 * by * (shares @ parts)).mean() for parts, error in rows])

    missing: Callable[[float], float] = lambda log: float(coverage(np.exp(log)).mean()) - QUANTILE  # noqa: E731
    by = float(np.exp(brentq(missing, -6, 6)))
    return by * shares, coverage(by)
