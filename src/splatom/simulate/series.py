"""A tilt series of a specimen, with the faults and the noise of a real one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Atoms, Provenance, TiltSeries, Volume
from splatom.geometry import ViewGeometry
from splatom.simulate.ellipsoids import Ellipsoids
from splatom.simulate.faults import MeasuredNoise, drift_of_gain, scanned, tilted_astray, uneven
from splatom.simulate.microscope import Microscope
from splatom.simulate.noise import Noise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["counted", "project", "tilt_series"]


def project(
    specimen: Volume | Atoms | Ellipsoids,
    geometry: ViewGeometry,
    detector_shape: tuple[int, int],
    pixel_size: float,
) -> NDArray[np.float32]:
    """Noise-free images of a specimen, (n_views, height, width); see the projection of each kind."""
    return Microscope().images(specimen, geometry, detector_shape, pixel_size)


def counted(
    images: NDArray[np.floating[Any]], electrons_per_unit: float, background: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Count electrons: Poisson noise about ``(image + background) · electrons_per_unit``, in the image's units.

    Variance and mean of the counts are equal; here the variance is the mean divided by ``electrons_per_unit``.
    """
    expected = np.maximum(np.asarray(images, dtype=np.float64) + background, 0) * electrons_per_unit
    out: NDArray[np.float64] = rng.poisson(expected) / electrons_per_unit
    return out


def tilt_series(
    specimen: Volume | Atoms | Ellipsoids,
    angles: ArrayLike | ViewGeometry,
    *,
    detector_shape: tuple[int, int] | None = None,
    pixel_size: float | None = None,
    dose: float = 0.0,
    background: float = 0.0,
    subtract_background: bool = True,
    jitter: float = 0.0,
    gain_drift: float = 0.0,
    scan_jitter: float = 0.0,
    microscope: Microscope | None = None,
    noise: MeasuredNoise | Noise | None = None,
    tilt_error: float = 0.0,
    scan_drift: float = 0.0,
    gain_walk: float = 0.0,
    background_slope: float = 0.0,
    seed: int = 0,
) -> TiltSeries:
    """Take a tilt series of a specimen.

    Parameters
    ----------
    specimen : Volume, Atoms or Ellipsoids
    angles : array (n,) or ViewGeometry
        Tilts about y in degrees, or any geometry.
    detector_shape : tuple, optional
        ``(height, width)`` in pixels; (rows, columns) of the volume by default, required for the others.
    pixel_size : float, optional
        In nm; the voxel size by default, required for the others.
    dose : float
        Mean count of electrons where the series is brightest; 0 for no noise.
    background : float
        Even background as a share of the brightest signal.
    subtract_background : bool
        Whether its mean is subtracted after counting, as a microscope's software does; its noise stays.
    jitter : float
        Misalignment: standard deviation of every tilt's shift in pixels. The series does not know it; the true
        shifts are in ``provenance.loading["true_shifts"]``.
    gain_drift : float
        Relative standard deviation of every tilt's intensity about a mean of 1.
    scan_jitter : float
        Standard deviation in pixels of the displacement of each row along the columns.
    microscope : Microscope, optional
        How it is imaged; its linear dark-field projection by default.
    noise : MeasuredNoise or Noise, optional
        Noise put on instead of counting statistics; ``dose`` is not used then. A `Noise` is in the images' own units.
    tilt_error : float
        Standard deviation in degrees of every tilt's unknown error; the true angles are in
        ``provenance.loading["true_angles"]``.
    scan_drift : float
        Standard deviation in pixels, per axis, of the drift during one image, which shears and stretches it.
    gain_walk : float
        Relative standard deviation of a slow drift of the intensity over the series (γ), on top of ``gain_drift``.
    background_slope : float
        Standard deviation over each image of an uneven background, as a share of the brightest signal; it stays.
    seed : int

    Returns
    -------
    TiltSeries
        In the specimen's intensity scale: the truth projects to it.

    Raises
    ------
    ValueError
        If a size is missing or a level is negative.
    """
    levels = {"dose": dose, "background": background, "jitter": jitter, "gain drift": gain_drift}
    more = {"tilt error": tilt_error, "scan drift": scan_drift, "gain walk": gain_walk}
    for name, value in {
        **levels, "scan jitter": scan_jitter, **more, "background slope": background_slope
    }.items():  # fmt: skip
        if value < 0:
            raise ValueError(f"{name} is {value}; it has to be 0 or more")
    if isinstance(specimen, Volume):
        detector_shape = detector_shape or specimen.shape[1:]
        pixel_size = pixel_size or specimen.voxel_nm
    if detector_shape is None or pixel_size is None:
        raise ValueError("atoms and ellipsoids need a detector_shape and a pixel_size to be imaged")

    rng = np.random.default_rng(seed)
    nominal = angles if isinstance(angles, ViewGeometry) else ViewGeometry.single_axis(angles)
    true = nominal
    if jitter > 0:
        true = nominal.with_shifts(nominal.shifts + rng.normal(scale=jitter, size=(len(nominal), 2)))
    if tilt_error > 0:
        true = tilted_astray(true, tilt_error, rng)
    optics = microscope or Microscope()
    # What drifts into the field while it is scanned lies round it.
    margin = int(np.ceil(2 * scan_drift))
    wide = (detector_shape[0] + 2 * margin, detector_shape[1] + 2 * margin)
    images = optics.images(specimen, true, wide, pixel_size, rng).astype(np.float64)
    brightest = float(images.max())
    if gain_drift > 0:
        images *= np.exp(rng.normal(scale=gain_drift, size=len(images)))[:, None, None]
    if gain_walk > 0:
        images *= drift_of_gain(len(images), gain_walk, rng)[:, None, None]
    if scan_jitter > 0 or scan_drift > 0:
        images = np.stack([scanned(image, scan_jitter, scan_drift, rng, margin) for image in images])
    level = background * brightest
    if background_slope > 0:
        slope = background_slope * brightest
        images = images + slope * np.stack([uneven(detector_shape, rng) for _ in images])
    if noise is not None:
        model = noise.of(images) if isinstance(noise, MeasuredNoise) else noise
        images = np.stack([model.apply(image + level, rng) for image in images]).astype(np.float64)
    elif dose > 0 and brightest > 0:
        images = counted(images, dose / brightest, level, rng)
    else:
        images = images + level
    if subtract_background:
        images = images - level
    loading: dict[str, Any] = {"dose": dose, "background": level, "seed": seed, "hand": "known (simulated)"}
    if jitter > 0:
        loading["true_shifts"] = true.shifts.tolist()
    if tilt_error > 0:
        loading["true_angles"] = true.tilt_degrees.tolist()
    if microscope is not None:
        loading["imaging"] = {k: v for k, v in asdict(microscope).items() if v is not None}
    source = specimen.provenance.source if isinstance(specimen, Volume | Atoms) else "simulated ellipsoids"
    return TiltSeries(
        images.astype(np.float32),
        nominal,
        pixel_size,
        contrast=optics.contrast,
        hand_known=True,
        provenance=Provenance(source or "simulated", loading=loading),
    )
