"""Volume: a reconstructed density on a grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data._arrays import finite, frozen
from splatom.data.provenance import Provenance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Volume"]


@dataclass(frozen=True, eq=False)
class Volume:
    """A density sampled on cubic voxels, in the frame of the zero-tilt view.

    Parameters
    ----------
    data : array (z, y, x), float32
        Projecting it along z sums voxels: its unit is image intensity per voxel.
    voxel_size : float, optional
        Edge of a voxel in nm; None where not known.
    origin_zyx : tuple
        Position of the volume's centre in nm, in the specimen frame.
    std : array (z, y, x), optional
        Spread or uncertainty of every voxel.
    provenance : Provenance

    Raises
    ------
    ValueError
        If a shape is wrong or values are not finite.
    """

    data: NDArray[np.float32]
    voxel_size: float | None = None
    origin_zyx: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: NDArray[np.float32] | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        data = frozen(self.data, np.float32, (None, None, None), "volume")
        if data.size == 0:
            raise ValueError(f"volume is empty: shape {data.shape}")
        if self.voxel_size is not None and not (np.isfinite(self.voxel_size) and self.voxel_size > 0):
            raise ValueError(f"voxel size is {self.voxel_size} nm; it has to be positive")
        put = object.__setattr__
        put(self, "data", finite(data, "volume"))
        put(self, "origin_zyx", tuple(float(v) for v in self.origin_zyx))
        if self.std is not None:
            put(self, "std", finite(frozen(self.std, np.float32, data.shape, "std"), "std"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(z, y, x)`` in voxels."""
        z, y, x = self.data.shape
        return z, y, x

    @property
    def voxel_nm(self) -> float:
        """Voxel size in nm; 1 where it is not known."""
        return 1.0 if self.voxel_size is None else float(self.voxel_size)

    def with_(self, **changes: Any) -> Volume:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)
