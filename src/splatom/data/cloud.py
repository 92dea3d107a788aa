"""GaussianCloud: a specimen as a sum of 3-D Gaussians."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data._arrays import finite, frozen
from splatom.data.provenance import Provenance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GaussianCloud"]


@dataclass(frozen=True, eq=False)
class GaussianCloud:
    """Gaussians with integrated mass as amplitude, the same in every view.

    Parameters
    ----------
    centres_zyx : array (n, 3), float32
        Centres in nm.
    scales : array (n, 3), float32
        Standard deviations in nm along the principal axes (z, y, x before rotation).
    mass : array (n,), float32
        Integrated mass: image intensity times nm².
    rotations : array (n, 4), optional
        Unit quaternions ``(w, x, y, z)``; identity by default.
    ids : array (n,) of int64, optional
        Names kept through split, merge and prune; the index by default.
    uncertainty : array (n,), optional
        One standard deviation of the position in nm.
    species : array (n,) of str, optional
    provenance : Provenance
    """

    centres_zyx: NDArray[np.float32]
    scales: NDArray[np.float32]
    mass: NDArray[np.float32]
    rotations: NDArray[np.float32] = field(default=None)  # type: ignore[arg-type]
    ids: NDArray[np.int64] = field(default=None)  # type: ignore[arg-type]
    uncertainty: NDArray[np.float32] | None = None
    species: NDArray[np.str_] | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        put = object.__setattr__
        n = len(self.centres_zyx)
        rotations = np.tile([1.0, 0.0, 0.0, 0.0], (n, 1)) if self.rotations is None else self.rotations
        put(self, "rotations", rotations)
        for name, width in (("centres_zyx", 3), ("scales", 3), ("rotations", 4)):
            put(self, name, finite(frozen(getattr(self, name), np.float32, (n, width), name), name))
        put(self, "mass", finite(frozen(self.mass, np.float32, (n,), "mass"), "mass"))
        put(self, "ids", frozen(np.arange(n) if self.ids is None else self.ids, np.int64, (n,), "ids"))
        if self.uncertainty is not None:
            put(self, "uncertainty", frozen(self.uncertainty, np.float32, (n,), "uncertainty"))
        if self.species is not None:
            put(self, "species", frozen(self.species, np.str_, (n,), "species"))

    def __len__(self) -> int:
        return len(self.centres_zyx)

    @property
    def denza(self) -> NDArray[np.float32]:
        """Scattering strength per volume at each centre: mass / ((2π)^(3/2) σ₁ σ₂ σ₃), (n,)."""
        out: NDArray[np.float32] = self.mass / ((2 * np.pi) ** 1.5 * self.scales.prod(axis=1))
        return out

    def with_(self, **changes: Any) -> GaussianCloud:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)
