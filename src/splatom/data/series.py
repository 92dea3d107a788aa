"""TiltSeries: projections and how they were taken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data._arrays import finite, frozen
from splatom.data.provenance import Provenance
from splatom.geometry import ViewGeometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Contrast", "TiltSeries"]

Contrast = Literal["adf", "bf", "phase"]


@dataclass(frozen=True, eq=False)
class TiltSeries:
    """Projections of one specimen and their geometry.

    Parameters
    ----------
    projections : array (n_tilts, height, width), float32
        Rows run along y (the tilt axis), columns along x.
    geometry : ViewGeometry
        Rotation and shift of every view.
    pixel_size : float, optional
        Pixel size in nm; None where the file does not say (lengths then count pixels).
    weights : array (n_tilts,), optional
        Relative statistical weight of every tilt; ones by default.
    exposure : array (n_tilts,), optional
        Dose of every tilt in electrons per Å².
    synthetic : array (n_tilts,) of bool, optional
        Tilts that were interpolated, not measured.
    held_out : array (n_tilts,) of bool, optional
        Tilts that no step may learn from; they score it (R-free).
    mask : array (n_tilts, height, width) of bool, optional
        Pixels that were measured; None where all were.
    contrast : {'adf', 'bf', 'phase'}
        ADF: bright where there is matter, non-negative. BF: dark where there is matter. Phase: either.
    scan : {'columns', 'rows', 'unknown'}
        Direction of the fast scan of a STEM image.
    order : array (n_tilts,) of int, optional
        Acquisition order; the index by default.
    hand_known : bool
        Whether the sign of the angles and the row order are known to give the specimen, not its mirror image.
    provenance : Provenance

    Raises
    ------
    ValueError
        If shapes disagree, values are not finite, or an array is empty.
    """

    projections: NDArray[np.float32]
    geometry: ViewGeometry
    pixel_size: float | None = None
    weights: NDArray[np.float32] = field(default=None)  # type: ignore[arg-type]
    exposure: NDArray[np.float32] | None = None
    synthetic: NDArray[np.bool_] = field(default=None)  # type: ignore[arg-type]
    held_out: NDArray[np.bool_] = field(default=None)  # type: ignore[arg-type]
    mask: NDArray[np.bool_] | None = None
    contrast: Contrast = "adf"
    scan: Literal["columns", "rows", "unknown"] = "unknown"
    order: NDArray[np.int64] = field(default=None)  # type: ignore[arg-type]
    hand_known: bool = False
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        projections = frozen(self.projections, np.float32, (None, None, None), "projections")
        if projections.size == 0:
            raise ValueError(f"projections is empty: shape {projections.shape}")
        n = len(projections)
        if len(self.geometry) != n:
            raise ValueError(f"{n} projections but {len(self.geometry)} tilt angles")
        if self.pixel_size is not None and not (np.isfinite(self.pixel_size) and self.pixel_size > 0):
            raise ValueError(f"pixel size is {self.pixel_size} nm; it has to be positive")
        put = object.__setattr__
        put(self, "projections", finite(projections, "projections"))
        for name, dtype, default in (
            ("weights", np.float32, np.ones),
            ("synthetic", np.bool_, np.zeros),
            ("held_out", np.bool_, np.zeros),
            ("order", np.int64, np.arange),
        ):
            value = getattr(self, name)
            put(self, name, frozen(default(n) if value is None else value, dtype, (n,), name))
        finite(self.weights, "weights")
        if (self.weights < 0).any():
            raise ValueError("weights holds negative values")
        if self.exposure is not None:
            put(self, "exposure", frozen(self.exposure, np.float32, (n,), "exposure"))
        if self.mask is not None:
            put(self, "mask", frozen(self.mask, np.bool_, projections.shape, "mask"))

    def __len__(self) -> int:
        return len(self.projections)

    def __getitem__(self, views: Any) -> TiltSeries:
        """Return the series of some tilts (a slice, a mask or an index array)."""

        def pick(array: Any) -> Any:
            return None if array is None else array[views]

        return replace(
            self,
            projections=self.projections[views],
            geometry=self.geometry[views],
            weights=self.weights[views],
            exposure=pick(self.exposure),
            synthetic=self.synthetic[views],
            held_out=self.held_out[views],
            mask=pick(self.mask),
            order=self.order[views],
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(n_tilts, height, width)``."""
        n, h, w = self.projections.shape
        return n, h, w

    @property
    def pixel_nm(self) -> float:
        """Pixel size in nm; 1 where it is not known."""
        return 1.0 if self.pixel_size is None else float(self.pixel_size)

    @property
    def angles(self) -> NDArray[np.float64]:
        """Tilt angles in degrees, (n_tilts,)."""
        return self.geometry.tilt_degrees

    def with_(self, **changes: Any) -> TiltSeries:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)

    def sorted(self) -> TiltSeries:
        """Return the series sorted by tilt angle; the acquisition order stays with each tilt."""
        return self[np.argsort(self.angles, kind="stable")]

    def groups(self, tolerance: float = 1e-3) -> NDArray[np.int64]:
        """Return a number for every tilt, (n,): repeats of an angle (within a tolerance in degrees) share it."""
        order = np.argsort(self.angles, kind="stable")
        steps = np.diff(self.angles[order], prepend=self.angles[order[0]]) > tolerance
        out = np.empty(len(self), dtype=np.int64)
        out[order] = np.cumsum(steps)
        return out

    def holding_out(self, share: float, seed: int = 0) -> TiltSeries:
        """Return the series with a share of its angles held out, all repeats of an angle together.

        The lowest and the highest angle and synthetic tilts are never held out: R-free then tests interpolation
        between measured tilts, not the missing wedge.

        Parameters
        ----------
        share : float
            Share of the angles, 0 to 0.5. Angles are taken at even distances, the first offset by the seed.
        """
        if not 0 <= share <= 0.5:
            raise ValueError(f"share to hold out is {share}; it has to lie in 0 to 0.5")
        groups = self.groups()
        inner = np.arange(1, groups.max())
        inner = np.array([g for g in inner if not self.synthetic[groups == g].any()], dtype=np.int64)
        count = round(share * (groups.max() + 1))
        if share == 0 or count == 0 or len(inner) == 0:
            return self.with_(held_out=np.zeros(len(self), dtype=bool))
        offset = np.random.default_rng(seed).random()
        count = min(count, len(inner))
        chosen = inner[((np.arange(count) + offset) * len(inner) / count).astype(int)]
        return self.with_(held_out=np.isin(groups, chosen))
