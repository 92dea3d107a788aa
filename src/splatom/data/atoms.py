"""Atoms: positions and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data._arrays import finite, frozen
from splatom.data.provenance import Provenance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Atoms"]

_ANGSTROM_PER_NM = 10.0
_COLUMNS = ("amplitude", "b_factor", "occupancy", "confidence", "amplitude_sigma")


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms about the centre of the field.

    Parameters
    ----------
    positions_zyx : array (n, 3), float64
        Positions in nm.
    species : array (n,) of str, optional
        Chemical symbols; 'X' (unknown) by default.
    sigma_zyx : array (n, 3), optional
        One standard deviation of each coordinate in nm.
    amplitude : array (n,), optional
        Integrated intensity: image intensity times nm².
    b_factor : array (n,), optional
        Width of the atom's image, σ in nm.
    occupancy : array (n,), optional
    confidence : array (n,), optional
        Probability that the species is right, 0 to 1.
    amplitude_sigma : array (n,), optional
        One standard deviation of the amplitude.
    provenance : Provenance
    """

    positions_zyx: NDArray[np.float64]
    species: NDArray[np.str_] = field(default=None)  # type: ignore[arg-type]
    sigma_zyx: NDArray[np.float64] | None = None
    amplitude: NDArray[np.float64] | None = None
    b_factor: NDArray[np.float64] | None = None
    occupancy: NDArray[np.float64] | None = None
    confidence: NDArray[np.float64] | None = None
    amplitude_sigma: NDArray[np.float64] | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        put = object.__setattr__
        positions = frozen(self.positions_zyx, np.float64, (None, 3), "positions")
        n = len(positions)
        put(self, "positions_zyx", finite(positions, "positions"))
        species = np.full(n, "X") if self.species is None else self.species
        put(self, "species", frozen(species, np.str_, (n,), "species"))
        if self.sigma_zyx is not None:
            put(self, "sigma_zyx", frozen(self.sigma_zyx, np.float64, (n, 3), "sigma"))
        for name in _COLUMNS:
            if getattr(self, name) is not None:
                put(self, name, frozen(getattr(self, name), np.float64, (n,), name))

    def __len__(self) -> int:
        return len(self.positions_zyx)

    def with_(self, **changes: Any) -> Atoms:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)

    def to_ase(self) -> Any:
        """Return ``ase.Atoms`` in Å, order (x, y, z), with what else is known of each as arrays."""
        from ase import Atoms as AseAtoms

        out: Any = AseAtoms(list(self.species), positions=self.positions_zyx[:, ::-1] * _ANGSTROM_PER_NM)
        if self.sigma_zyx is not None:
            out.set_array("sigma", self.sigma_zyx[:, ::-1] * _ANGSTROM_PER_NM)
        for name in _COLUMNS:
            if getattr(self, name) is not None:
                out.set_array(name, np.array(getattr(self, name)))
        return out

    @classmethod
    def from_ase(cls, atoms: Any) -> Atoms:
        """Inverse of :meth:`to_ase`."""
        arrays = atoms.arrays
        sigma = arrays.get("sigma")
        return cls(
            np.asarray(atoms.get_positions())[:, ::-1] / _ANGSTROM_PER_NM,
            np.array(atoms.get_chemical_symbols(), dtype=np.str_),
            None if sigma is None else np.asarray(sigma)[:, ::-1] / _ANGSTROM_PER_NM,
            **{name: arrays.get(name) for name in _COLUMNS},
        )
