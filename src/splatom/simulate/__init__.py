"""Specimens with a known truth, and tilt series of them with the faults of real ones."""

from splatom.simulate.cells import cell, cell_density
from splatom.simulate.crystals import Shape, aligned, ball, block, crystal, unit_cell, wulff
from splatom.simulate.defects import (
    alloyed,
    bicrystal,
    core_shell,
    dislocated,
    displaced,
    grain_boundary,
    substituted,
    vacant,
)
from splatom.simulate.ellipsoids import Ellipsoids
from splatom.simulate.faults import MeasuredNoise
from splatom.simulate.glasses import amorphous, nuclei
from splatom.simulate.micrograph import Ctf, bf, haadf, hrtem
from splatom.simulate.microscope import Microscope
from splatom.simulate.named import (
    SPECIMENS,
    SimulateParams,
    parse_angles,
    sample_atoms,
    sample_nanoparticle,
    simulate,
)
from splatom.simulate.projection import project_atoms, project_volume
from splatom.simulate.scattering import projected_potential
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
    "Ctf",
    "Ellipsoids",
    "MeasuredNoise",
    "Microscope",
    "Shape",
    "SimulateParams",
    "aligned",
    "alloyed",
    "amorphous",
    "atomic_particle",
    "ball",
    "bf",
    "bicrystal",
    "block",
    "cell",
    "cell_density",
    "chiral_ellipsoids",
    "chiral_phantom",
    "core_shell",
    "counted",
    "crystal",
    "dislocated",
    "displaced",
    "grain_boundary",
    "haadf",
    "hrtem",
    "nanoparticle_on_support",
    "needle",
    "nuclei",
    "parse_angles",
    "project",
    "project_atoms",
    "project_volume",
    "projected_potential",
    "sample_atoms",
    "sample_nanoparticle",
    "shepp_logan",
    "simulate",
    "substituted",
    "tilt_series",
    "unit_cell",
    "vacant",
    "wulff",
]
