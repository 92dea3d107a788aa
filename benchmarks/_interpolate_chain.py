"""What interpolated tilts are worth to a reconstruction: reference, sparse and mixed series to volumes.

The specimens of ``_specimens.py`` (the networks are not trained on them; drawn on a grid twice as fine, exact strip
integrals), ±66°, with and without noise. **Reference**: all tilts, 1° apart. **Sparse**: 2g apart. **Mixed**: the same
measured tilts and one interpolated in the middle of each gap; *linear*, *sinogram*, *tsgnet* put them in, *true*
has the measured ones there (what a perfect interpolation would be worth). SIRT makes 100 passes, as published; TV and
DenZa are run as they are. PSNR is that of the volume; then both volumes are cut at their Otsu level, and Chamfer (mean
of both ways) and RMS distance are those between the two surfaces, in nm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from _interpolate_predict import missing
from _specimens import made
from splatom.data import TiltSeries, Volume

if TYPE_CHECKING:
    from interpolate import Bench

SIZE, SMALL = 64, 48  # voxels
LAST = 66
SPECIMENS = ("facets", "pores", "core-shell", "radial")
GAPS = (2, 4, 6, 12)  # degrees; 1 ° is what the reference has
MORE = {"tv": (6, 12), "denza": (6,)}  # at these gaps
DOSES = (200.0, 0.0)  # electrons where the series is brightest; 0: no noise
CHECKED = ("facets", "core-shell")  # TV, DenZa, the series without noise and --quick: on these
QUICK_GAPS = (3, 6, 12)
SIRT = {"iterations": 100}


def volume(series: TiltSeries, method: str) -> NDArray[np.float32]:
    """Reconstruct."""
    import splatom

    options: dict[str, Any] = SIRT if method == "sirt" else {}
    return np.asarray(splatom.run("reconstruct", method, series, specimen="isolated", **options).data)


def surface(data: NDArray[np.float32], pixel: float) -> NDArray[np.float64]:
    """Return points of the surface at the Otsu level, (n, 3) in nm."""
    from skimage.filters import threshold_otsu
    from skimage.measure import marching_cubes

    points = marching_cubes(np.pad(data, 1), float(threshold_otsu(data)))[0]
    return np.asarray(points, np.float64) * pixel


def distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """Return Chamfer distance (mean of both ways) and RMS distance."""
    from scipy.spatial import cKDTree

    there, back = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    return float(there.mean() + back.mean()) / 2, float(np.sqrt((np.mean(there**2) + np.mean(back**2)) / 2))


def judged(series: TiltSeries, truth: Volume, method: str) -> NDArray[np.float64]:
    """Return PSNR in dB, Chamfer and RMS distance in nm of a series' volume."""
    from splatom.evaluate import psnr

    made_of = volume(series, method)
    near = distances(surface(made_of, truth.voxel_nm), surface(np.asarray(truth.data), truth.voxel_nm))
    return np.array([psnr(made_of, truth.data), *near])


def groups(whole: TiltSeries, gap: int, bench: Bench) -> dict[str, TiltSeries]:
    """Return the sparse series, and it with its gaps filled by each method."""
    import splatom

    at = np.arange(0, len(whole), 2 * gap)
    sparse = whole[at]
    out = {"sparse": sparse}
    middles = tuple(float(a) for a in (sparse.angles[:-1] + sparse.angles[1:]) / 2)
    ways: dict[str, tuple[str, dict[str, Any]]] = {"linear": ("linear", {}), **bench.methods}
    for name, (way, options) in ways.items():
        with missing(name):
            out[name] = splatom.run("interpolate", way, sparse, angles=middles, **options)
    out["true"] = whole[np.arange(0, at[-1] + 1, gap)]
    return out


def chain(bench: Bench) -> None:
    """Print a table for each dose and method: means over the specimens."""
    size, at = (SMALL, QUICK_GAPS) if bench.quick else (SIZE, GAPS)
    for dose in DOSES:
        for method in ("sirt", *MORE):
            if dose == 0 and method != "sirt":
                continue
            names = SPECIMENS if method == "sirt" and dose and not bench.quick else CHECKED
            print(f"\n{method}, {f'{dose:g} electrons' if dose else 'no noise'}, means of {', '.join(names)}, {size}³: "
                  "PSNR in dB, Chamfer and RMS distance in nm", flush=True)  # fmt: skip
            wholes = {n: made(n, size, 2 * LAST + 1, 7, dose=dose) for n in names}
            reference = np.mean([judged(*wholes[n], method) for n in names], axis=0)
            print(f"  reference, {2 * LAST + 1} tilts: {_figures(reference)}", flush=True)
            for gap in MORE.get(method, at):
                _gap(method, gap, wholes, bench)


def _gap(method: str, gap: int, wholes: dict[str, tuple[TiltSeries, Volume]], bench: Bench) -> None:
    found: dict[str, list[NDArray[np.float64]]] = {}
    count = 0
    for whole, truth in wholes.values():
        some = groups(whole, gap, bench)
        count = len(some["sparse"])
        for name, series in some.items():
            found.setdefault(name, []).append(judged(series, truth, method))
    print(f"  gap {gap}°, {count} measured tilts")
    for name, values in found.items():
        lead = np.subtract(values, found["sparse"])
        change = (
            "" if name == "sparse" else f"  over sparse {lead.mean(axis=0)[0]:+.2f} dB (least {lead[:, 0].min():+.2f})"
        )
        print(f"    {name:12} {_figures(np.mean(values, axis=0))}{change}", flush=True)


def _figures(values: NDArray[np.float64]) -> str:
    return f"{values[0]:6.2f} dB  {values[1]:.3f} nm  {values[2]:.3f} nm"
