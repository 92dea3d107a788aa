"""Specimens by name, and the sample data that napari offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from splatom.data import Atoms, MethodParams, TiltSeries, Volume, option
from splatom.simulate import examples
from splatom.simulate.cells import cell
from splatom.simulate.ellipsoids import Ellipsoids
from splatom.simulate.faults import MeasuredNoise
from splatom.simulate.microscope import Imaging, Microscope
from splatom.simulate.series import tilt_series
from splatom.simulate.specimens import (
    atomic_particle,
    chiral_ellipsoids,
    nanoparticle_on_support,
    needle,
    shepp_logan,
)

__all__ = [
    "SPECIMENS",
    "SimulateParams",
    "Specimen",
    "parse_angles",
    "sample_atoms",
    "sample_nanoparticle",
    "simulate",
]


@dataclass(frozen=True)
class Specimen:
    """A named specimen.

    Parameters
    ----------
    summary : str
    pixel_size : float
        Pixel size in nm unless asked otherwise, for an image of 128 pixels.
    make : callable
        ``make(size, pixel_size, seed)`` with the field's edge in pixels and its pixel size in nm.
    """

    summary: str
    pixel_size: float
    make: Callable[[int, float, int], Volume | Atoms | Ellipsoids]


def _atoms(summary: str, make: Callable[[float, int], Atoms]) -> Specimen:
    """Specimen of atoms that knows the edge of its field in nm."""
    return Specimen(summary, 0.035, lambda n, p, seed: make(n * p, seed))


SPECIMENS: dict[str, Specimen] = {
    "nanoparticle": Specimen(
        "Faceted, porous metal particles on carbon", 0.5, lambda n, p, seed: nanoparticle_on_support((n, n, n), p, seed)
    ),
    "needle": Specimen("Layered needle along the tilt axis", 1.0, lambda n, p, seed: needle((n, n, n), p, seed)),
    "ellipsoids": Specimen(
        "Shepp-Logan phantom with exact line integrals", 1.0, lambda n, p, seed: shepp_logan(n * p)
    ),
    "chiral": Specimen(
        "Right-handed helix of ellipsoids, exact line integrals", 1.0, lambda n, p, seed: chiral_ellipsoids(n * p)
    ),
    "atoms": Specimen(
        "Gold decahedron at atomic resolution", 0.035, lambda n, p, seed: atomic_particle("Au", 0.8 * n * p, seed)
    ),
    "icosahedron": Specimen(
        "Silver icosahedron", 0.035, lambda n, p, seed: atomic_particle("Ag", 0.8 * n * p, seed, "icosahedron")
    ),
    "octahedron": Specimen(
        "Truncated Pt octahedron", 0.035, lambda n, p, seed: atomic_particle("Pt", 0.8 * n * p, seed, "octahedron")
    ),
    "crystal": _atoms("Gold crystal of Wulff's shape", examples.wulff_particle),
    "alloy": _atoms("Random alloy of gold, palladium and platinum", examples.alloy),
    "ordered": _atoms("Ordered FePt (L1_0)", examples.ordered),
    "core-shell": _atoms("Gold in a shell of palladium", examples.core_shell_particle),
    "oxide": _atoms("Ceria, heavy and light columns", examples.oxide),
    "bicrystal": _atoms("Film of SrTiO3 with a tilt boundary", examples.bicrystal),
    "dislocation": _atoms("Film of gold with an edge dislocation", examples.dislocation),
    "graphene": _atoms("Graphene with vacancies and silicon", examples.graphene),
    "mos2": _atoms("MoS2 with sulphur vacancies and tungsten", examples.mos2),
    "amorphous": _atoms("Metallic glass Pd80Si20", examples.amorphous),
    "nuclei": _atoms("Crystal nuclei of palladium in a glass", examples.nuclei),
    "cell": Specimen(
        "Piece of a cell: membranes, vesicles, mitochondria, granules", 4.0, lambda n, p, seed: cell((n, n, n), p, seed)
    ),
}


def parse_angles(text: str) -> tuple[float, ...]:
    """Read tilt angles in degrees: ``first:last:step`` (the last included where a step meets it) or ``a,b,c``.

    Raises
    ------
    ValueError
        If the text is neither.
    """
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            count = int(np.floor((last - first) / step + 1e-9)) + 1
            if count < 1 or count > 10_000:
                raise ValueError(text)
            return tuple(round(first + i * step, 9) for i in range(count))
        return tuple(float(part) for part in text.split(","))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"angles '{text}' are neither first:last:step nor a list a,b,c") from None


class SimulateParams(MethodParams):
    """Simulate a tilt series of a known specimen.

    Volumes are projected by exact strip integrals, ellipsoids by closed-form line integrals and atoms by an incoherent
    Z^1.7 model with Lorentzian tails: none of these is a projector that reconstructs. Noise is counted electrons, or
    what `splatom calibrate` found in images. The missing wedge is what the angles leave out.
    """

    method: Literal["simulate"] = "simulate"
    size: int = option(128, "Size", "Edge of the images, and of the volume, in pixels.", unit="px", ge=16, le=1024)
    pixel_size: float | None = option(
        None, "Pixel size", "By default what suits the specimen at this size.", unit="nm", gt=0
    )
    angles: str = option("-69:69:3", "Angles", "Tilt angles: first:last:step, or a list a,b,c.", unit="°")
    dose: float = option(
        200.0, "Dose", "Electrons counted in a pixel where the series is brightest; 0 for no noise.", unit="e/px", ge=0
    )
    background: float = option(
        0.01, "Background", "Even background as a share of the brightest signal; its mean is subtracted.", ge=0, le=10
    )
    jitter: float = option(
        0.0, "Misalignment", "Standard deviation of every tilt's unknown shift.", unit="px", ge=0, le=100
    )
    gain_drift: float = option(
        0.0, "Gain drift", "Relative standard deviation of every tilt's intensity.", ge=0, le=1, advanced=True
    )
    scan_jitter: float = option(
        0.0, "Scan jitter", "Standard deviation of each row's displacement.", unit="px", ge=0, le=20, advanced=True
    )
    imaging: Imaging = option("haadf", "Imaging", "Dark field, bright field, or phase contrast (HRTEM, atoms only).")
    saturation: float | None = option(
        None,
        "Saturation",
        "Thickness of gold (atoms) or of density 1 (volumes) after which 1 - 1/e of the electrons are scattered; "
        "dark field is linear without it.",
        unit="nm",
        gt=0,
    )
    channelling: float = option(
        0.0, "Channelling", "Gain of atoms in line with the beam; 0.6 is near to gold's.", ge=0, le=5, advanced=True
    )
    voltage: float = option(300.0, "Voltage", "Bright field and HRTEM.", unit="kV", ge=20, le=3000, advanced=True)
    defocus: float | None = option(
        None, "Defocus", "Of HRTEM, positive below focus; Scherzer's by default.", unit="nm", advanced=True
    )
    cs: float = option(1.0, "Spherical aberration", "Of HRTEM.", unit="mm", ge=-10, le=10, advanced=True)
    tilt_error: float = option(
        0.0, "Tilt error", "Standard deviation of every tilt's unknown error.", unit="°", ge=0, le=20, advanced=True
    )
    scan_drift: float = option(
        0.0, "Scan drift", "Drift between an image's first and last row.", unit="px", ge=0, le=50, advanced=True
    )
    gain_walk: float = option(
        0.0, "Gain walk", "Slow drift of the intensity over the series, relative.", ge=0, le=1, advanced=True
    )
    background_slope: float = option(
        0.0, "Uneven background", "As a share of the brightest signal; it stays.", ge=0, le=10, advanced=True
    )
    noise: Path | None = option(
        None, "Noise", "JSON of 'splatom calibrate --json', instead of counted electrons.", advanced=True
    )


def simulate(specimen: str, *, seed: int = 0, **params: Any) -> tuple[TiltSeries, Volume | Atoms]:
    """Simulate a named specimen.

    Parameters
    ----------
    specimen : str
        A key of :data:`SPECIMENS`.
    seed : int
        Seed of the specimen and of the noise.
    **params
        Fields of :class:`SimulateParams`.

    Returns
    -------
    series : TiltSeries
    truth : Volume or Atoms

    Raises
    ------
    ValueError
        If there is no such specimen, the angles or the noise cannot be read, or HRTEM is asked of a volume.
    pydantic.ValidationError
        If a parameter is unknown or out of bounds.
    """
    if specimen not in SPECIMENS:
        raise ValueError(f"no specimen '{specimen}'; there are: {', '.join(SPECIMENS)}")
    p = SimulateParams(**params)
    named = SPECIMENS[specimen]
    pixel = p.pixel_size or named.pixel_size * 128 / p.size
    noise = None if p.noise is None else MeasuredNoise.read(p.noise)
    look = Microscope(p.imaging, p.saturation, p.channelling, p.voltage, p.defocus, 1000 * p.cs)
    made = named.make(p.size, pixel, seed)
    series = tilt_series(
        made,
        parse_angles(p.angles),
        detector_shape=(p.size, p.size),
        pixel_size=pixel,
        dose=p.dose,
        background=p.background,
        jitter=p.jitter,
        gain_drift=p.gain_drift,
        scan_jitter=p.scan_jitter,
        microscope=None if look == Microscope() else look,
        noise=noise,
        tilt_error=p.tilt_error,
        scan_drift=p.scan_drift,
        gain_walk=p.gain_walk,
        background_slope=p.background_slope,
        seed=seed,
    )
    truth = made.volume((p.size, p.size, p.size), pixel) if isinstance(made, Ellipsoids) else made
    return series, truth


def sample_nanoparticle() -> TiltSeries:
    """HAADF tilt series of metal particles on carbon: 47 tilts of 128 × 128, ±69°, aligned, counted electrons."""
    return simulate("nanoparticle", seed=3)[0]


def sample_atoms() -> TiltSeries:
    """Atomic-resolution ADF tilt series of a gold decahedron: 47 tilts of 128 × 128, ±69°, aligned."""
    return simulate("atoms", seed=1, dose=100.0)[0]
