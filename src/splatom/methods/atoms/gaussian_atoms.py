"""Atoms as Gaussians, fitted to the tilt series itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from splatom.data import Atoms, MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs.job import Job


class GaussianAtomsParams(MethodParams):
    """Fit atoms to the tilt series: every atom a Gaussian, with position, mass, width and error.

    The idea of gaussian-atoms: the atoms themselves are the Gaussians of a splatting model, so that a sum of Gaussians
    whose projections are known in closed form is fitted to the images and no volume comes between. Of it we keep
    isotropic Gaussians and the merging of near ones. Ours: the first atoms are the peaks of a non-negative
    deconvolution; all atoms and views are fitted at once by Gauss-Newton with conjugate gradients, not by random
    gradient steps of one view each; atoms are born at peaks of the deconvolved residual; widths are truly learned, per
    species; masses of a species are tied as firmly as the data bear out; a radial filter takes up what the image of an
    atom has that a Gaussian has not; shifts, tilts, gains and backgrounds of the views are fitted along; and every
    position has an error.
    """

    method: Literal["gaussian-atoms"] = "gaussian-atoms"
    elements: tuple[str, ...] | None = option(
        None, "Elements",
        "What the specimen consists of, for example Au or Co,Pd,Pt: names the species, and atoms of one element are "
        "taken to have nearly one mass.",
    )  # fmt: skip
    rounds: int = option(
        6, "Rounds", "Of fitting all atoms, then merging, taking away and adding some.", live=True, ge=1, le=100
    )
    start_passes: int | None = option(
        None, "Start passes",
        "Iterations of the deconvolution whose peaks are the first atoms; by default more where there are fewer tilts.",
        ge=5, le=2000, advanced=True,
    )  # fmt: skip
    width: float | None = option(
        None, "Width", "First guess of an atom's width σ; by default from the images' resolution.", unit="nm", gt=0,
        advanced=True,
    )  # fmt: skip
    learn_width: bool = option(True, "Learn widths", "Fit the width of each species.", advanced=True)
    learn_profile: bool = option(
        True, "Learn the profile", "Fit one radial filter for what atoms' images have beyond a Gaussian.", advanced=True
    )
    tie_masses: bool = option(
        True, "Tie masses", "Hold the masses of a species together, as firmly as the data show them to be alike.",
        live=True,
    )  # fmt: skip
    births: bool = option(True, "Births", "Add atoms where the residual has peaks.", live=True)
    merging: bool = option(True, "Merging", "Merge atoms nearer than the least distance.", live=True)
    min_distance: float | None = option(
        None, "Least distance", "Between two atoms; by default 0.52 of the first peak of the pair distances.",
        unit="nm", gt=0, live=True,
    )  # fmt: skip
    min_mass: float | None = option(
        None, "Least mass", "Of an atom, as a share of the median; by default the valley below the lightest species.",
        ge=0, le=1, live=True,
    )  # fmt: skip
    calibrate: bool | None = option(
        None, "Calibrate views",
        "Fit shifts, tilts and gains of the views along with the atoms, held near their given values. By default for "
        "all but a film in smoothed images, whose errors would pass for errors of the views.",
    )  # fmt: skip
    shift_spread: float = option(
        1.0, "Shift errors", "How far shifts may be off, one standard deviation.", unit="pixels", gt=0, advanced=True
    )
    turn_spread: float = option(
        0.5, "Tilt errors", "How far tilts and in-plane rotations may be off, one standard deviation.", unit="°", gt=0,
        advanced=True,
    )  # fmt: skip
    gain_spread: float = option(
        0.1, "Gain errors", "How far gains may be off, one standard deviation of the logarithm.", gt=0, advanced=True
    )
    uncertainty: bool = option(True, "Uncertainty", "Estimate the error of every atom at the end.")
    samples: int = option(
        8, "Samples", "Random solutions that the errors are estimated from.", ge=2, le=200, advanced=True
    )
    hold_out: float = option(
        0.0, "Hold out", "Share of the tilts kept aside to score the result (R-free); they are not fitted.",
        ge=0.0, le=0.5,
    )  # fmt: skip
    specimen: Literal["auto", "isolated", "film"] = option(
        "auto", "Specimen", "A film goes on outside the field: atoms there are fitted too, and left out of the result.",
        advanced=True,
    )  # fmt: skip
    thickness: float | None = option(
        None, "Film thickness", "Thickness of a film; estimated where not given.", unit="nm", gt=0, advanced=True
    )
    depth: int | None = option(
        None, "Depth", "Range along the beam in which atoms are looked for; by default as many pixels as columns.",
        unit="pixels", ge=1, le=16384, advanced=True,
    )  # fmt: skip
    subtract_background: bool | None = option(
        None, "Subtract background",
        "Set the empty surroundings to zero; by default where an ADF image's offset is more than 5 % of its contrast.",
        advanced=True,
    )  # fmt: skip


def run(series: TiltSeries, job: Job[GaussianAtomsParams]) -> Atoms:
    """Fit atoms to a series.

    Raises
    ------
    ValueError
        If there are fewer than three different tilts, no signal, an unknown element, or no atom is found.
    """
    from splatom.methods.atoms._loop import fit_atoms

    return fit_atoms(series, job)


__all__: list[Any] = ["GaussianAtomsParams", "run"]
