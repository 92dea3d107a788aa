"""Atomic specimens for a field of a given edge, one of each kind: what the names of `splatom simulate` make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from splatom.data import Atoms, Provenance
from splatom.simulate import glasses
from splatom.simulate.crystals import Shape, aligned, ball, block, crystal, wulff
from splatom.simulate.defects import (
    alloyed,
    core_shell,
    dislocated,
    displaced,
    grain_boundary,
    substituted,
    vacant,
)
from splatom.simulate.specimens import random_rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "alloy",
    "amorphous",
    "bicrystal",
    "core_shell_particle",
    "dislocation",
    "graphene",
    "mos2",
    "nuclei",
    "ordered",
    "oxide",
    "wulff_particle",
]

_DISORDER_PM = 5.0


def _imperfect(atoms: Atoms, what: str, seed: int, vacancies: float = 0.0) -> Atoms:
    """Leave sites empty, move every atom a little, and say what it is."""
    rng = np.random.default_rng((seed, 1))
    atoms = displaced(vacant(atoms, vacancies, int(rng.integers(2**31))), _DISORDER_PM, int(rng.integers(2**31)))
    return atoms.with_(provenance=Provenance(f"simulated {what}, seed {seed}"))


def _turn(seed: int) -> NDArray[np.float64]:
    return random_rotation(np.random.default_rng(seed))


def _film(edge: float, thickness: float) -> Shape:
    """Slab wider than the field, that stays so up to tilts of some 35°."""
    return block(1.2 * edge, 1.1 * edge, thickness)


def wulff_particle(edge: float, seed: int = 0, element: str = "Au") -> Atoms:
    """Crystal of Wulff's shape in any orientation, with 2 % vacancies; edge of the field in nm."""
    turn = _turn(seed)
    return _imperfect(crystal(element, wulff(0.66 * edge, turn), turn), f"{element} crystal", seed, 0.02)


def alloy(edge: float, seed: int = 0) -> Atoms:
    """Random solid solution Au₅₀Pd₃₀Pt₂₀; edge of the field in nm."""
    turn = _turn(seed)
    atoms = alloyed(crystal("Au", wulff(0.66 * edge, turn), turn), {"Au": 5, "Pd": 3, "Pt": 2}, seed)
    return _imperfect(atoms, "Au-Pd-Pt alloy", seed, 0.01)


def ordered(edge: float, seed: int = 0) -> Atoms:
    """Ordered FePt (L1₀); edge of the field in nm."""
    turn = _turn(seed)
    return _imperfect(crystal("FePt", wulff(0.66 * edge, turn), turn), "ordered FePt", seed, 0.01)


def core_shell_particle(edge: float, seed: int = 0) -> Atoms:
    """Gold core in a shell of palladium, two to three layers deep; edge of the field in nm."""
    turn = _turn(seed)
    atoms = core_shell(crystal("Au", wulff(0.66 * edge, turn), turn), "Au", "Pd", 0.5)
    return _imperfect(atoms, "Au core in a Pd shell", seed, 0.01)


def oxide(edge: float, seed: int = 0) -> Atoms:
    """Ceria, {111} faces; edge of the field in nm."""
    turn = _turn(seed)
    shape = wulff(0.58 * edge, turn, {(1, 1, 1): 1.0, (1, 0, 0): 1.4})
    return _imperfect(crystal("CeO2", shape, turn), "CeO2 crystal", seed)


def bicrystal(edge: float, seed: int = 0) -> Atoms:
    """Film of SrTiO₃ with a Σ5 tilt boundary (36.87° about [001]); edge of the field in nm."""
    return _imperfect(grain_boundary("SrTiO3", _film(edge, 0.4 * edge), 36.87), "SrTiO3 bicrystal", seed)


def dislocation(edge: float, seed: int = 0) -> Atoms:
    """Film of gold with a Lomer edge dislocation, a/2 [110] along [1-10], seen end on; edge of the field in nm."""
    turn = aligned((1, -1, 0), (1, 1, 0))
    rng = np.random.default_rng(seed)
    origin = tuple(rng.uniform(0, 1, 3))
    perfect = crystal("Au", _film(edge, 0.4 * edge), turn, (origin[0], origin[1], origin[2]))
    x, y = rng.uniform(-0.15, 0.15, 2) * edge
    return _imperfect(dislocated(perfect, (0.408 / np.sqrt(2), 0, 0), through=(x, y, 0)), "dislocation in Au", seed)


def graphene(edge: float, seed: int = 0) -> Atoms:
    """One sheet of graphene with 1 % vacancies and 1 % silicon; edge of the field in nm."""
    turn = aligned((0, 0, 1), (np.cos(seed), np.sin(seed), 0))
    sheet = substituted(crystal("graphene", block(1.2 * edge, 1.1 * edge, 1.0), turn), "C", "Si", 0.01, seed)
    return _imperfect(sheet, "graphene", seed, 0.01)


def mos2(edge: float, seed: int = 0) -> Atoms:
    """One layer of MoS₂ with 4 % sulphur vacancies and 8 % tungsten for molybdenum; edge of the field in nm."""
    turn = aligned((0, 0, 1), (np.cos(seed), np.sin(seed), 0))
    sheet = crystal("MoS2", block(1.2 * edge, 1.1 * edge, 1.0), turn)
    sheet = vacant(substituted(sheet, "Mo", "W", 0.08, seed), 0.04, seed + 1, "S")
    return _imperfect(sheet, "MoS2", seed)


def amorphous(edge: float, seed: int = 0) -> Atoms:
    """Ball of the metallic glass Pd₈₀Si₂₀; edge of the field in nm."""
    return glasses.amorphous({"Pd": 4, "Si": 1}, ball(0.8 * edge), 62, 0.235, seed)


def nuclei(edge: float, seed: int = 0) -> Atoms:
    """Nuclei of palladium in a glass of it, a ball; edge of the field in nm."""
    sizes = (0.22 * edge, 0.36 * edge)
    return glasses.nuclei("Pd", ball(0.8 * edge), 60, 0.24, count=4, diameters=sizes, seed=seed)
