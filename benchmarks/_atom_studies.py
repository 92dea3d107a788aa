"""Two studies of the atoms' benchmark: the real film, and errors of the views that are known because we made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import splatom
from splatom.data import Atoms, TiltSeries
from splatom.evaluate import match_atoms
from splatom.geometry import ViewGeometry

if TYPE_CHECKING:
    from atoms import Aim, Bench
    from splatom.evaluate import AtomMatch

# ------------------------------------------------------------------------------------------------ the film
INNER = 12  # pixels from the window's edge
EVERY = 6  # every sixth tilt is held out


def film(bench: Bench, aim: Aim) -> None:
    """Score atoms of the Ta film against the published ones, and both against tilts that ours did not see."""
    path, reference = bench.paths("aet_ta_area23")
    series, published = splatom.read(path), splatom.read(reference)
    print(f"aet_ta_area23, real: atoms {INNER} pixels or more inside the window, against {len(published)} published")
    runs: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("SIRT (100 passes) + trace", "trace", {"passes": 100}),
        ("gaussian-atoms", "gaussian-atoms", {}),
        ("gaussian-atoms, Ta", "gaussian-atoms", {"elements": ["Ta"]}),
    )
    for name, method, options in runs:
        found = bench.fit(path, method, **options)
        score = inner_score(found["positions_zyx"], published, series)
        print(
            f"  {name:34} n {score['n']:5d}  recall {score['recall']:.4f}  precision {score['precision']:.4f}  "
            f"RMSD {score['rmsd_pm']:.1f} pm  {found['seconds']:.0f} s  {found['peak_gb']:.1f} GB",
            aim.verdict(score), sep="  ", flush=True,
        )  # fmt: skip
    held = np.arange(len(series)) % EVERY == EVERY // 2
    ours = bench.fit(path, "gaussian-atoms", elements=["Ta"], hold_out_every=EVERY)
    print(f"  every {EVERY}th tilt held out of our fit (not of the published one): R by equal Gaussians, pixels that")
    print("  only the film inside the window reaches; width from the other tilts, gain and offset of each tilt fitted")
    for name, positions in (("ours", ours["positions_zyx"]), ("published", published.positions_zyx)):
        learned, free, width = reprojection(positions, series, held, float(np.abs(published.positions_zyx[:, 0]).max()))
        print(f"  {name:34} R {learned:.4f}  R of held-out tilts {free:.4f}  (σ {100 * width:.1f} pm)", flush=True)


def inner_score(positions_zyx: np.ndarray, published: Atoms, series: TiltSeries) -> dict[str, Any]:
    """Recall, precision and RMSD of atoms well inside the window; partners may lie outside."""
    half = (np.array(series.shape[1:]) - 1) / 2 * series.pixel_nm - INNER * series.pixel_nm  # (y, x)

    def inside(positions: np.ndarray) -> np.ndarray:
        return (np.abs(positions[:, 1:]) <= half).all(axis=1)

    match: AtomMatch = match_atoms(Atoms(positions_zyx), published, 0.1)
    true, mine = inside(published.positions_zyx), inside(positions_zyx - match.shift_zyx)
    offsets = match.offsets_zyx[true[match.truth]]
    return {
        "n": int(mine.sum()),
        "recall": float(true[match.truth].sum() / true.sum()),
        "precision": float(mine[match.found].sum() / mine.sum()),
        "rmsd_pm": float(1000 * np.sqrt((offsets**2).sum(axis=1).mean())),
    }


def reprojection(
    positions_zyx: np.ndarray, series: TiltSeries, held: np.ndarray, thickness: float
) -> tuple[float, float, float]:
    """Return R over learned tilts, R over held-out ones and the width (nm), all atoms being equal Gaussians.

    Pixels count whose rays meet the film, at depths up to ``thickness`` (nm) either side, inside the window alone:
    there neither set of atoms lacks a neighbour.
    """
    import torch
    from scipy.optimize import minimize_scalar

    from splatom.operators.gaussian import GaussianProjector

    _, high, wide = series.shape
    projector = GaussianProjector(series.geometry, (high, wide), series.pixel_nm)
    centres = torch.from_numpy(np.ascontiguousarray(positions_zyx, dtype=np.float32))
    ones = torch.ones(len(centres))
    masks = [_alone(series, k, thickness) for k in range(len(series))]

    def fitted(width: float) -> tuple[np.ndarray, np.ndarray]:
        """Squared error and R of every tilt."""
        images = projector(centres, width * ones, ones).numpy()
        square, r = np.full(len(images), np.nan), np.full(len(images), np.nan)
        for k, (image, mask) in enumerate(zip(images, masks, strict=True)):
            if mask.sum() < 200:
                continue
            measured = series.projections[k][mask].astype(float)
            design = np.column_stack([image[mask], np.ones(mask.sum())])
            residual = design @ np.linalg.lstsq(design, measured, rcond=None)[0] - measured
            square[k], r[k] = (residual**2).sum(), np.abs(residual).sum() / np.abs(measured).sum()
        return square, r

    width = minimize_scalar(
        lambda w: np.nansum(fitted(w)[0][~held]), bounds=(0.03, 0.12), method="bounded", options={"xatol": 5e-4}
    ).x
    r = fitted(width)[1]
    return float(np.nanmean(r[~held])), float(np.nanmean(r[held])), float(width)


def _alone(series: TiltSeries, view: int, thickness: float) -> np.ndarray:
    """Pixels (rows, columns) of a view that only the film within the window reaches."""
    _, high, wide = series.shape
    edge = 5  # pixels: an atom's image
    theta = np.deg2rad(series.angles[view])
    u = (np.arange(wide) - (wide - 1) / 2) * series.pixel_nm
    reach = np.stack([(u + z * np.sin(theta)) / np.cos(theta) for z in (-thickness, thickness)])
    columns = (np.abs(reach) <= ((wide - 1) / 2 - edge) * series.pixel_nm).all(axis=0)
    rows = np.zeros(high, dtype=bool)
    rows[edge:-edge] = True
    return rows[:, None] & columns[None]


# ------------------------------------------------------------------------------------------------ views with errors
SHIFT, TURN, GAIN = 1.0, 0.5, 0.1  # pixels, degrees, relative: standard deviations


def calibration(bench: Bench, cases: list[str]) -> None:
    """Fit series whose views are shifted, tilted otherwise than told and unevenly bright, with calibration and without.

    The noise is the same in all. What moves the whole specimen alike is no error, and is taken out of the figures.
    """
    from ase.io import read

    for case in cases:
        path, truth = bench.paths(case)
        with np.load(path) as file:
            angles, pixel, shape = file["angles"], 10 * float(file["pixel_size"]), file["projections"].shape[1:]
        wrong = _errors(angles)
        none = {k: np.zeros_like(v) for k, v in wrong.items()}
        atoms = read(truth)
        series = {
            name: _series_with(bench, f"{case}_{name}", atoms, angles, shape, pixel, errors)
            for name, errors in (("faultless", none), ("faulty", wrong))
        }
        print(f"{case}: shifts of {SHIFT} px, angles off by {TURN}°, gains by {100 * GAIN:.0f} % (RMS, each view)")
        for name, which, options in (
            ("no errors, not calibrated", "faultless", {"calibrate": False}),
            ("no errors, calibrated", "faultless", {}),
            ("errors, not calibrated", "faulty", {"calibrate": False}),
            ("errors, calibrated", "faulty", {}),
        ):
            found = bench.fit(series[which], "gaussian-atoms", **options)
            match = match_atoms(Atoms(found["positions_zyx"]), splatom.read(truth), 0.1)
            print(
                f"  {name:34} recall {match.recall:.4f}  precision {match.precision:.4f}  RMSD {match.rmsd_pm:.2f} pm "
                f"({_turned(match, splatom.read(truth)):.2f} after a turn of the whole)  {found['seconds']:.0f} s"
            )
            if which == "faulty" and not options:
                print("    left of the errors: " + _left(found["notes"], wrong, angles), flush=True)


def _errors(angles: np.ndarray) -> dict[str, np.ndarray]:
    """Random errors of every view with a mean of zero."""
    rng = np.random.default_rng(77)
    n = len(angles)
    drawn = {
        "shifts": rng.normal(0, SHIFT, (n, 2)),
        "angles": rng.normal(0, TURN, n),
        "log_gain": rng.normal(0, GAIN, n),
    }
    return {k: v - v.mean(axis=0) for k, v in drawn.items()}


def _series_with(
    bench: Bench, name: str, atoms: Any, angles: np.ndarray, shape: tuple[int, int], pixel: float,
    errors: dict[str, np.ndarray],
) -> Any:  # fmt: skip
    from _potentials import NOISE, clean

    path = bench.cache / f"{name}.npz"
    if not path.exists():
        geometry = ViewGeometry.single_axis(angles + errors["angles"], shifts=errors["shifts"])
        views = clean(atoms, geometry, shape, pixel) * np.exp(errors["log_gain"])[:, None, None]
        views += np.random.default_rng(78).normal(0, NOISE, views.shape)
        bench.cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, projections=views.astype(np.float32), angles=angles, pixel_size=pixel / 10)
    return path


def _turned(match: AtomMatch, truth: Atoms) -> float:
    """RMSD in pm of the pairs after the best rotation too."""
    real = truth.positions_zyx[match.truth]
    centred = real - real.mean(axis=0)
    mine = centred + match.offsets_zyx
    mine -= mine.mean(axis=0)
    u, _, vt = np.linalg.svd(mine.T @ centred)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return float(1000 * np.sqrt(((mine @ turn - centred) ** 2).sum(axis=1).mean()))


def _left(notes: dict[str, Any], wrong: dict[str, np.ndarray], angles: np.ndarray) -> str:
    """Say what the fit left of the errors (RMS), what moves the whole specimen alike taken out."""
    found = notes["calibration"]
    theta = np.deg2rad(angles)
    across = np.column_stack([np.cos(theta), np.sin(theta)])  # a specimen that lies elsewhere in x and z
    shifts = np.array(found["shifts_pixels"]) - wrong["shifts"]
    column = shifts[:, 0] - across @ np.linalg.lstsq(across, shifts[:, 0], rcond=None)[0]
    turns = np.array(found["turns_degrees"])  # (x, y, z) in the view's frame; a tilt by θ turns about y by −θ
    tilt = -turns[:, 1] - wrong["angles"]
    gain = np.log(found["gains"]) - wrong["log_gain"]
    return (
        f"shifts {column.std():.3f} and {shifts[:, 1].std():.3f} px (across, along the axis), tilts {tilt.std():.3f}°, "
        f"turns in the plane {turns[:, 2].std():.3f}°, gains {100 * gain.std():.2f} %"
    )
