"""Low dose to atoms: what denoising a tilt series does to the atoms that are then traced in it.

A ball of disordered FePt (abTEM's potentials, projected and blurred as in ``_potentials.py``; nothing is a Gaussian
atom) in 23 tilts of ±66°, 0.3 Å pixels. Electrons are counted: shot noise, and 1 electron of readout noise, at several
doses, given as the mean number of electrons per pixel on the particle. Each series goes to atoms as it is and denoised
(each network; the Gaussian filter with its width from the truth), by gaussian-atoms and by SIRT with local maxima.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from _baselines import Image, psnr, tuned

if TYPE_CHECKING:
    import ase

    from denoise import Bench

RADIUS = 11.0  # Å
PIXEL = 0.3  # Å
ANGLES = np.linspace(-66.0, 66.0, 23)
SHAPE = (108, 112)
ELECTRONS = (10.0, 3.0, 1.0)
METHODS = ("gaussian-atoms", "trace")


def particle() -> ase.Atoms:
    """Return the ball, turned at random and shaken by 5 pm an axis."""
    from ase.build import bulk

    from _potentials import _ball

    rng = np.random.default_rng(61)
    atoms = bulk("Pt", "fcc", a=3.85, cubic=True).repeat(8)
    atoms.symbols = rng.choice(["Fe", "Pt"], len(atoms))
    return _ball(atoms, RADIUS, rng)


def views(cache: Path) -> tuple[Image, Path]:
    """Return noise-free views (n, rows, columns), mean 1 on the particle, and the path of the truth."""
    from ase.io import write

    from _potentials import clean
    from splatom.geometry import ViewGeometry

    path, truth = cache / "chain.npy", cache / "chain_truth.xyz"
    if not (path.exists() and truth.exists()):
        atoms = particle()
        images = np.maximum(clean(atoms, ViewGeometry.single_axis(ANGLES), SHAPE, PIXEL), 0)
        np.save(path, (images / images[images > 0.1 * images.max()].mean()).astype(np.float32))
        write(truth, atoms, format="xyz")
    return np.load(path), truth


@dataclass(frozen=True)
class Traced:
    """Atoms against the truth: matched within 1 Å after the best translation."""

    recall: float
    precision: float
    rmsd_pm: float

    def __str__(self) -> str:
        return f"recall {self.recall:.3f}  precision {self.precision:.3f}  RMSD {self.rmsd_pm:5.1f} pm"


def traced(projections: Image, method: str, truth: Path) -> Traced:
    """Run a series to its atoms."""
    import splatom
    from splatom.data import TiltSeries
    from splatom.evaluate import match_atoms
    from splatom.geometry import ViewGeometry
    from splatom.jobs import JobError

    series = TiltSeries(projections, ViewGeometry.single_axis(ANGLES), pixel_size=PIXEL / 10)
    try:
        atoms = splatom.run("atoms", method, series)
    except JobError as fault:  # a row of the table, not the end of it
        print(f"    ({method}: {fault})")
        return Traced(0.0, 0.0, float("nan"))
    match: dict[str, Any] = match_atoms(atoms, splatom.read(truth), 0.1).to_dict()
    return Traced(match["recall"], match["precision"], match["rmsd_pm"])


def chain(bench: Bench) -> None:
    """Print a table of what each dose and denoiser leaves of the atoms."""
    from denoise import denoised

    ideal, truth = views(bench.cache)
    print(f"atoms from {len(ideal)} tilts, {SHAPE[0]} x {SHAPE[1]} px of {PIXEL} Å")
    for method in METHODS:
        print(f"  {'no noise':28} {method:15} {traced(ideal, method, truth)}", flush=True)
    for electrons in ELECTRONS:
        rng = np.random.default_rng([5, int(electrons)])
        true = ideal * np.float32(electrons)
        noisy = (rng.poisson(true) + rng.normal(0, 1, true.shape)).astype(np.float32)
        width = tuned("gaussian", noisy[len(noisy) // 2], true[len(true) // 2]).parameter
        tries = {"as it is": noisy, "gaussian": denoised(noisy, "gaussian", "haadf", PIXEL, sigma=width)}
        for label, options in bench.networks("sfin").items():
            tries[label] = denoised(noisy, "sfin", "haadf", PIXEL, **options)
        print(f"{electrons:g} electrons a pixel")
        for method in METHODS:
            plain = None
            for label, images in tries.items():
                found = traced(images, method, truth)
                plain = plain or found
                change = f"recall {found.recall - plain.recall:+.3f}, {found.rmsd_pm - plain.rmsd_pm:+.1f} pm"
                print(
                    f"  {label:14} {psnr(images, true):6.2f} dB  {method:15} {found}"
                    + ("" if found is plain else f"  against none: {change}"), flush=True,
                )  # fmt: skip
