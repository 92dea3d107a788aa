"""Comparing a result with a reference, whatever they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatom.data import Atoms, GaussianCloud, TiltSeries, Volume
from splatom.evaluate.images import psnr, rmse, ssim
from splatom.evaluate.matching import match_atoms
from splatom.evaluate.residuals import r_factor
from splatom.evaluate.resolution import directional_fsc, fsc

__all__ = ["evaluate"]

_ANGLE_TOLERANCE = 0.05  # degrees


def evaluate(result: Any, reference: Any, *, tolerance_nm: float = 0.1) -> dict[str, Any]:
    """Compare a result with a reference.

    Parameters
    ----------
    result, reference : Volume, TiltSeries, Atoms, or array
        Two volumes, two series (the tilts they share are compared), two images (2-D arrays, or series of one tilt) or
        two sets of atoms; a GaussianCloud counts as atoms at its centres. Atoms are matched after the best translation;
        ``after_rotation`` gives the figures after the best rotation too.
    tolerance_nm : float
        Largest distance of a pair of atoms.

    Returns
    -------
    dict
        JSON values. ``kind`` says what was compared; ``psnr_fitted`` is the PSNR after the best gain and offset;
        an infinite PSNR (equal data) is None, as is what the data are too small for; ``note`` tells of anything left
        out.

    Raises
    ------
    ValueError
        If the two are of different kinds, or shapes or voxel sizes do not fit.
    """
    result, reference = (_as_atoms(v) for v in (result, reference))
    if isinstance(result, Volume) and isinstance(reference, Volume):
        return _volumes(result, reference)
    if isinstance(result, Atoms) and isinstance(reference, Atoms):
        return _atoms(result, reference, tolerance_nm)
    images = _as_image(result), _as_image(reference)
    if images[0] is not None and images[1] is not None:
        return {"kind": "images", "shape": list(images[1].shape), **_likeness(images[0], images[1])}
    if isinstance(result, TiltSeries) and isinstance(reference, TiltSeries):
        return _series(result, reference)
    raise ValueError(
        f"cannot compare {_kind(result)} with {_kind(reference)}; give two volumes, two images, two series or two "
        "sets of atoms"
    )


def _atoms(result: Atoms, reference: Atoms, tolerance_nm: float) -> dict[str, Any]:
    counts = {"kind": "atoms", "n_found": len(result), "n_truth": len(reference), "tolerance_nm": tolerance_nm}
    moved = match_atoms(result, reference, tolerance_nm)
    turned = match_atoms(result, reference, tolerance_nm, remove_turn=True)
    figures = {"recall": turned.recall, "precision": turned.precision, "rmsd_pm": turned.rmsd_pm}
    return {**counts, **moved.to_dict(), "after_rotation": {"turn_degrees": turned.turn_degrees, **figures}}


def _as_atoms(value: Any) -> Any:
    if isinstance(value, GaussianCloud):
        return Atoms(np.asarray(value.centres_zyx, dtype=np.float64), value.species)  # type: ignore[arg-type]
    return value


def _as_image(value: Any) -> NDArray[np.float64] | None:
    if isinstance(value, TiltSeries) and len(value) == 1:
        return np.asarray(value.projections[0], dtype=np.float64)
    if isinstance(value, np.ndarray) and value.ndim == 2:
        return np.asarray(value, dtype=np.float64)
    return None


def _kind(value: Any) -> str:
    names: dict[type, str] = {Volume: "a volume", Atoms: "atoms", TiltSeries: "a tilt series", np.ndarray: "an array"}
    return names.get(type(value), f"a {type(value).__name__}")


def _likeness(a: NDArray[Any], b: NDArray[Any]) -> dict[str, Any]:
    """RMSE, PSNR (plain and fitted) and SSIM as JSON values."""
    decibel = {"psnr": psnr(a, b), "psnr_fitted": psnr(a, b, fit=True)}
    figures: dict[str, Any] = {k: v if np.isfinite(v) else None for k, v in decibel.items()}
    return {"rmse": rmse(a, b), **figures, "ssim": ssim(a, b) if min(a.shape) >= 3 else None}


def _common_centre(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], str | None]:
    """Crop two arrays to the region about the centre that both have."""
    if a.shape == b.shape:
        return a, b, None
    from scipy.ndimage import shift as spline_shift

    shape = np.minimum(a.shape, b.shape)

    def crop(array: NDArray[Any]) -> NDArray[Any]:
        surplus = np.array(array.shape) - shape
        if (surplus % 2).any():
            # Centres of grids whose lengths differ by an odd number lie half a voxel apart.
            array = spline_shift(array, -(surplus % 2) / 2, order=3, mode="nearest")
        start = surplus // 2
        return array[tuple(slice(int(s), int(s + n)) for s, n in zip(start, shape, strict=True))]

    note = f"shapes {a.shape} and {b.shape} differ; the common centre {tuple(int(n) for n in shape)} was compared"
    if ((np.array(a.shape) - np.array(b.shape)) % 2).any():
        note += ", after a shift by half a voxel where they differ by an odd number"
    return crop(a), crop(b), note


def _volumes(result: Volume, reference: Volume) -> dict[str, Any]:
    sizes = result.voxel_size, reference.voxel_size
    if sizes[0] is not None and sizes[1] is not None and not np.isclose(sizes[0], sizes[1], rtol=5e-3):
        raise ValueError(f"voxel sizes differ: result {sizes[0]} nm, reference {sizes[1]} nm; bin one to the other")
    voxel = sizes[1] or sizes[0] or 1.0
    apart = np.abs(np.subtract(result.origin_zyx, reference.origin_zyx)).max() / voxel
    if apart > 0.01:
        raise ValueError(
            f"the volumes' origins {result.origin_zyx} and {reference.origin_zyx} nm are {apart:.2f} voxels apart"
        )
    a, b, note = _common_centre(result.data, reference.data)
    curve = fsc(a, b, voxel)
    out: dict[str, Any] = {"kind": "volumes", "shape": list(b.shape), "voxel_size_nm": voxel, **_likeness(a, b)}
    out["fsc_0.5_nm"] = curve.resolution(0.5)
    out["fsc_0.143_nm"] = curve.resolution(0.143)
    out["fsc_0.5_nm_by_direction"] = {k: v.resolution(0.5) for k, v in directional_fsc(a, b, voxel).items()}
    if note:
        out["note"] = note
    return out


def _shared_tilts(result: TiltSeries, reference: TiltSeries) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of tilts taken at one view, each used once."""
    from scipy.optimize import linear_sum_assignment

    trace = np.einsum("aij,bij->ab", result.geometry.rotations, reference.geometry.rotations)
    turn = np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    # Repeats of an angle keep their order: a tiny cost for distance in the list.
    order = np.abs(np.subtract.outer(np.arange(len(result)), np.arange(len(reference))))
    i, j = linear_sum_assignment(np.minimum(turn, 10 * _ANGLE_TOLERANCE) + 1e-9 * order)
    same = turn[i, j] <= _ANGLE_TOLERANCE
    return i[same], j[same]


def _series(result: TiltSeries, reference: TiltSeries) -> dict[str, Any]:
    if result.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"images differ in shape: result {result.shape[1:]}, reference {reference.shape[1:]}; crop or bin one"
        )
    i, j = _shared_tilts(result, reference)
    if len(i) == 0:
        raise ValueError(f"the series share no tilt within {_ANGLE_TOLERANCE}°")
    a, b = result.projections[i], reference.projections[j]
    per_tilt = [_likeness(p, q) for p, q in zip(a, b, strict=True)]

    def mean(name: str, which: NDArray[np.bool_]) -> float | None:
        values = [t[name] for t, w in zip(per_tilt, which, strict=True) if w and t[name] is not None]
        return float(np.mean(values)) if values else None

    every = np.ones(len(i), dtype=bool)
    names = ("rmse", "psnr", "psnr_fitted", "ssim")
    out: dict[str, Any] = {"kind": "series", "n_tilts": len(i), **{n: mean(n, every) for n in names}}
    r = r_factor(b, a)
    out["r"] = float(np.nanmean(r)) if np.isfinite(r).any() else None
    synthetic = result.synthetic[i]
    if synthetic.any():
        out["synthetic"] = {"n_tilts": int(synthetic.sum()), **{n: mean(n, synthetic) for n in names}}
    out["per_tilt"] = [
        {"angle": float(angle), **figures} for angle, figures in zip(reference.angles[j], per_tilt, strict=True)
    ]
    left = len(result) - len(i), len(reference) - len(j)
    if any(left):
        out["note"] = f"{left[0]} tilts of the result and {left[1]} of the reference have no partner and were left out"
    return out
