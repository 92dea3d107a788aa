"""Specimens with a known truth, and tilt series of them with the faults of real ones."""

from splatom.simulate.ellipsoids import Ellipsoids
from splatom.simulate.named import (
    SPECIMENS,
    SimulateParams,
    parse_angles,
    sample_atoms,
    sample_nanoparticle,
    simulate,
)
from splatom.simulate.projection import project_atoms, project_volume
from splatom.simulate.series import counted, project, tilt_series
from splatom.simulate.specimens import (
    atomic_particle,
    chiral_ellipsoids,
    chiral_phantom,
    nanoparticle_on_support,
    needle,
    shepp_logan,
)

__all__ = [
    "SPECIMENS",
    "Ellipsoids",
    "SimulateParams",
    "atomic_particle",
    "chiral_ellipsoids",
    "chiral_phantom",
    "counted",
    "nanoparticle_on_support",
    "needle",
    "parse_angles",
    "project",
    "project_atoms",
    "project_volume",
    "sample_atoms",
    "sample_nanoparticle",
    "shepp_logan",
    "simulate",
    "tilt_series",
]
