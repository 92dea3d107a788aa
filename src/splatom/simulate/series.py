"""A tilt series of a specimen, with the faults and the noise of a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Atoms, Provenance, TiltSeries, Volume
from splatom.geometry import ViewGeometry
from splatom.simulate.ellipsoids import Ellipsoids
from splatom.simulate.projection import project_atoms, project_volume

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
    if isinstance(specimen, Ellipsoids):
        return specimen.project(geometry, detector_shape, pixel_size, oversample=2).astype(np.float32)
    if isinstance(specimen, Atoms):
        return project_atoms(specimen, geometry, detector_shape, pixel_size)
    return project_volume(specimen, geometry, detector_shape, pixel_size)


def counted(
    images: NDArray[np.floating[Any]], electrons_per_unit: float, background: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Count electrons: Poisson noise about ``(image + background) · electrons_per_unit``, in the image's units.

    Variance and mean of the counts are equal; here the variance is the mean divided by ``electrons_per_unit``.
    """
    expected = np.maximum(np.asarray(images, dtype=np.float64) + background, 0) * electrons_per_unit
    out: NDArray[np.float64] = rng.poisson(expected) / electrons_per_unit
    return out


def _scan_jittered(image: NDArray[Any], jitter: float, rng: np.random.Generator) -> NDArray[Any]:
    """Displace every row along the columns by a random amount, standard deviation ``jitter`` in pixels."""
    from scipy.ndimage import map_coordinates

    height, width = image.shape
    columns = np.arange(width)[None, :] - rng.normal(0.0, jitter, (height, 1))
    rows = np.broadcast_to(np.arange(height)[:, None], image.shape)
    out: NDArray[Any] = map_coordinates(image, [rows, columns], order=1, mode="nearest")
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
    for name, value in {**levels, "scan jitter": scan_jitter}.items():
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
    images = project(specimen, true, detector_shape, pixel_size).astype(np.float64)
    brightest = float(images.max())
    if gain_drift > 0:
        images *= np.exp(rng.normal(scale=gain_drift, size=len(images)))[:, None, None]
    if scan_jitter > 0:
        images = np.stack([_scan_jittered(image, scan_jitter, rng) for image in images])
    level = background * brightest
    counting = dose > 0 and brightest > 0
    images = counted(images, dose / brightest, level, rng) if counting else images + level
    if subtract_background:
        images = images - level
    loading: dict[str, Any] = {"dose": dose, "background": level, "seed": seed, "hand": "known (simulated)"}
    if jitter > 0:
        loading["true_shifts"] = true.shifts.tolist()
    source = specimen.provenance.source if isinstance(specimen, Volume | Atoms) else "simulated ellipsoids"
    return TiltSeries(
        images.astype(np.float32),
        nominal,
        pixel_size,
        contrast="adf",
        hand_known=True,
        provenance=Provenance(source or "simulated", loading=loading),
    )
