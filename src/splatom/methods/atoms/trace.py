"""Atom tracing: the classical route from a volume to atoms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data import Atoms, MethodParams, TiltSeries, Volume, option

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from splatom.jobs.job import Job

_STAGES = 4
_CLEAR = 0.6  # a valley between two kinds of maxima is less than this full, against the lower of its humps


class TraceParams(MethodParams):
    """Trace atoms in a volume: local maxima, placed to a fraction of a voxel, told apart by intensity.

    The classical route of atomic electron tomography: the volume is lightly smoothed, maxima nearer than the least
    distance to a higher one go, each of the rest is placed by a local fit, and species follow from the intensity about
    each. A tilt series is first reconstructed by a few passes of SIRT. Sources: R. Xu et al., Nature Mater. 14, 1099
    (2015); Y. Yang et al., Nature 542, 75 (2017), whose fit of a polynomial of fourth order this is. What is decided
    from the data is ours: the least distance is twice the typical peak's width σ (two equal Gaussians that are nearer
    have one maximum), the threshold the emptiest height between the maxima of noise and those of atoms.
    """

    method: Literal["trace"] = "trace"
    elements: tuple[str, ...] | None = option(
        None, "Elements", "What the specimen consists of, for example Au or Co,Pd,Pt; names the species."
    )
    min_distance: float | None = option(
        None, "Least distance", "Between two atoms; by default twice the width (σ) of the typical peak.",
        unit="nm", gt=0,
    )  # fmt: skip
    threshold: float | None = option(
        None, "Threshold",
        "Least height of an atom as a share of the typical one's; by default the emptiest height between the maxima of "
        "noise and those of atoms.",
        ge=0, le=1,
    )  # fmt: skip
    placing: Literal["polynomial", "gaussian", "parabola"] = option(
        "polynomial", "Placing",
        "How a peak is placed: a polynomial of fourth order or a Gaussian on an even background in a ball about it, or "
        "the parabola of its 27 voxels.",
    )  # fmt: skip
    smoothing: float | None = option(
        None, "Smoothing",
        "σ of the Gaussian that the volume is smoothed with to find maxima, not to place them; by default 0.3 of the "
        "typical peak's.",
        unit="nm", ge=0, advanced=True,
    )  # fmt: skip
    radius: float | None = option(
        None, "Radius", "Of the ball a peak is placed in; by default 1.1 σ of the typical peak.", unit="nm", gt=0,
        advanced=True,
    )  # fmt: skip
    most: int | None = option(None, "At most", "Keep only so many atoms, the highest.", ge=1, advanced=True)
    passes: int = option(
        20,
        "SIRT passes",
        "Of the reconstruction that a tilt series goes through first.",
        ge=1,
        le=10_000,
        advanced=True,
    )


def run(data: Volume | TiltSeries, job: Job[TraceParams]) -> Atoms:
    """Trace the atoms of a volume, or of a series' quick reconstruction.

    Raises
    ------
    ValueError
        If the input is neither, an element is unknown, or no peak is found.
    """
    from splatom.methods.atoms import _peaks
    from splatom.methods.atoms._species import atomic_numbers, by_amplitude, relative_scattering

    elements = job.params.elements or ()
    atomic_numbers(elements)
    begun = 0
    if isinstance(data, TiltSeries):
        begun = job.params.passes
        data = _quick_sirt(data, job, begun + _STAGES)
    if not isinstance(data, Volume):
        raise ValueError(f"atoms are traced in a volume or a tilt series, not in {type(data).__name__}")
    params, voxel = job.params, data.voxel_nm
    if data.voxel_size is None:
        job.note(voxel_size="not known: lengths are in voxels")

    width = typical_width(data.data, job.check) * voxel
    distance = params.min_distance or 2 * width
    smoothing = 0.3 * width if params.smoothing is None else params.smoothing
    radius = params.radius or 1.1 * width
    job.note(
        peak_width_nm=_short(width),
        min_distance_nm=_short(distance),
        smoothing_nm=_short(smoothing),
        radius_nm=_short(radius),
    )
    smooth = _smoothed(data.data, smoothing / voxel)
    job.tick(begun + 1, begun + _STAGES)

    positions, heights = _peaks.local_maxima(smooth, distance / voxel)
    if len(heights) == 0:
        raise ValueError("the volume has no peaks: it is even, or thinner than three voxels")
    if params.threshold is not None:
        typical = float(np.median(heights[heights > _otsu(heights)])) if len(heights) > 1 else float(heights[0])
        threshold = params.threshold * typical
    else:
        threshold = valley(heights, float(relative_scattering(elements).min()) if elements else None)
    job.note(threshold=_short(threshold), maxima=len(heights))
    keep = np.flatnonzero(heights > threshold)[: params.most]
    positions, heights = positions[keep], heights[keep]
    job.tick(begun + 2, begun + _STAGES, lambda: _atoms(data, positions))

    good = np.ones(len(positions), dtype=bool)
    if params.placing == "parabola":
        fitted = _peaks.fit_polynomials(data.data, positions, radius / voxel, tick=job.check)  # for the widths
    else:
        fit = _peaks.fit_polynomials if params.placing == "polynomial" else _peaks.fit_gaussians
        fitted = fit(data.data, positions, radius / voxel, tick=job.check)
        positions, good = fitted.positions, fitted.good
    order = np.argsort(-heights, kind="stable")
    kept = order[_peaks.thin(positions[order], 0.75 * distance / voxel)]  # fits of two may meet in one
    positions, sigma, good = positions[kept], fitted.sigma[kept], good[kept]
    job.tick(begun + 3, begun + _STAGES, lambda: _atoms(data, positions))

    widths = _widths(sigma)
    mass = _peaks.sum_in_balls(data.data, positions, radius / voxel) * voxel**2
    # What a ball leaves out is in the same ratio for all; scaled by the typical atom's share the sum is the whole.
    mass /= max(_peaks.share_in_ball(radius / voxel / float(np.median(widths))), 0.1)
    species = by_amplitude(mass, elements)
    job.note(classes=species.to_dict(), badly_placed=int((~good).sum()))
    job.figures["n_atoms"] = len(positions)
    out = _atoms(
        data, positions, species=species.species, amplitude=mass, b_factor=widths * voxel, confidence=species.confidence
    )
    job.tick(begun + _STAGES, begun + _STAGES, lambda: out)
    return out


def _atoms(volume: Volume, positions: NDArray[np.float64], **fields: Any) -> Atoms:
    """Atoms at positions in voxels."""
    centre = (np.array(volume.shape) - 1) / 2
    placed = (positions - centre) * volume.voxel_nm + np.array(volume.origin_zyx)
    return Atoms(placed, provenance=volume.provenance, **fields)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _smoothed(data: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    out: NDArray[np.float32] = gaussian_filter(data, sigma, mode="nearest") if sigma > 0 else data
    return out


def _widths(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Geometric mean σ (n,) of each peak in voxels; the median where the fit gave none."""
    mean: NDArray[np.float64] = np.exp(np.log(sigma).mean(axis=1))
    known = np.isfinite(mean)
    return np.where(known, mean, np.median(mean[known]) if known.any() else 1.0)


def _quick_sirt(series: TiltSeries, job: Job[TraceParams], total: int) -> Volume:
    """Reconstruct a series by SIRT as a part of this job: its ticks, stop and notes are the job's own."""
    from splatom.jobs.job import Job as NewJob
    from splatom.methods.reconstruct import sirt

    inner = NewJob(sirt.SirtParams(iterations=job.params.passes), device=job.device, seed=job.seed)

    def tick(
        step: int,
        _: int,
        snapshot: Callable[[], Any] | None = None,
        *,
        figures: Mapping[str, float] | None = None,
        state: object = None,
    ) -> tuple[dict[str, Any], ...]:
        return job.tick(step, total, snapshot, figures=figures)

    inner.tick = tick  # type: ignore[method-assign,assignment]
    inner.check = job.check  # type: ignore[method-assign]
    volume = sirt.run(series, inner)
    job.check()  # SIRT keeps what it has when stopped; a volume on its way is no result here
    job.note(reconstruction=f"{job.params.passes} passes of SIRT", **inner.notes)
    job.figures.update({k: v for k, v in inner.figures.items() if k in ("r", "r_per_tilt")})
    return volume


# ------------------------------------------------------------------------------------------------ from the data
def typical_width(data: NDArray[np.float32], check: Callable[[], None]) -> float:
    """Return the σ in voxels of a volume's typical strong peak.

    From the curvature of the higher maxima (Otsu's upper class) within the middle of the mass, in three rounds, each
    smoothing and fitting at the scale that the one before found.
    """
    from splatom.methods.atoms import _peaks

    block = data
    for axis in range(3):
        n = block.shape[axis]
        mass = np.abs(block).sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        middle = float((mass * np.arange(n)).sum() / max(mass.sum(), 1e-30))
        start = int(np.clip(round(middle) - 80, 0, max(n - 160, 0)))
        block = np.take(block, np.arange(start, min(start + 160, n)), axis=axis)
    width = 2.0
    for _ in range(3):
        check()
        smooth = _smoothed(block, 0.25 * width)
        positions, heights = _peaks.local_maxima(smooth, width)
        if len(heights) == 0:
            break
        strong = positions[heights >= _otsu(heights)][:2000]
        sigma = _peaks.fit_polynomials(smooth, strong, max(width, 1.8)).sigma
        mean = np.exp(np.log(sigma).mean(axis=1))
        if not np.isfinite(mean).any():
            break
        width = float(np.clip(np.sqrt(max(np.nanmedian(mean) ** 2 - (0.25 * width) ** 2, 0.25)), 0.7, 12.0))
    return width


def _otsu(values: NDArray[np.float64]) -> float:
    """Return the cut that leaves the least variance within two classes (Otsu 1979)."""
    v = np.sort(values)
    n = np.arange(1, len(v))
    below = np.cumsum(v)[:-1]
    between = (below * len(v) / n - v.sum()) ** 2 * n / (len(v) - n)
    cut = int(between.argmax())
    return float((v[cut] + v[cut + 1]) / 2)


def valley(heights: NDArray[np.float64], lightest: float | None = None) -> float:
    """Return the emptiest height between the maxima of noise and those of atoms.

    In the smoothed histogram of the heights' square roots, a valley is a place that is lower than some hump on either
    side. With one species the deepest valley is taken. With several, or an unknown number, a deeper one may part two
    species, and the lowest valley is taken that is clear enough. Where there is none, Otsu's cut.

    Parameters
    ----------
    heights : array (n,)
        Of all maxima.
    lightest : float, optional
        Scattering of the lightest element named as a share of the heaviest's; 1 for a single one.
    """
    from scipy.ndimage import gaussian_filter1d

    if len(heights) < 10:
        return float("-inf")
    root = np.sqrt(np.maximum(heights, 0))
    edges = np.linspace(0, np.sort(root)[-3], 121)  # of a few outliers no more than two lie above
    density = gaussian_filter1d(np.histogram(root, edges)[0].astype(np.float64), 2.5, mode="constant")
    flat = 1e-6 * density.max()
    places, depths = [], []
    i = 1
    while i < len(density) - 1:
        j = i  # a stretch of equal emptiness counts as one place, its middle
        while j + 1 < len(density) and abs(density[j + 1] - density[i]) <= flat:
            j += 1
        if j + 1 < len(density) and density[i - 1] > density[i] + flat and density[j + 1] > density[j] + flat:
            lower = np.flatnonzero(density[j + 1 :] < density[i])
            hump = density[j + 1 : j + 1 + int(lower[0]) if len(lower) else None]
            if hump.sum() > max(4, 0.001 * len(heights)):  # else a few stray maxima
                places.append((i + j) // 2)
                depths.append(density[i] / min(density[:i].max(), hump.max()))
        i = j + 1
    at = ((edges[:-1] + edges[1:]) / 2) ** 2
    if lightest == 1:
        return float(at[places[int(np.argmin(depths))]]) if places else _otsu(heights)
    clear = [p for p, depth in zip(places, depths, strict=True) if depth < _CLEAR]
    if lightest is None:
        return float(at[clear[0]]) if clear else _otsu(heights)
    heaviest = float(np.median(heights[heights > (at[clear[-1]] if clear else _otsu(heights))]))
    limit = heaviest * lightest**0.7  # neighbours' tails raise light atoms above their share
    if clear and at[clear[0]] < limit:
        return float(at[clear[0]])
    faint = [(depth, p) for p, depth in zip(places, depths, strict=True) if at[p] < limit]
    return float(at[min(faint)[1]]) if faint else 0.6 * limit
