"""Between the masses of a lattice fit and a GaussianCloud, and the user's edits of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.data import GaussianCloud

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.methods.reconstruct._denza_lattice import LatticeFit

__all__ = ["PREVIEW", "Hand", "lattice_cloud"]

PREVIEW = 20_000  # Gaussians of a preview
_HASH = np.uint64(0x9E3779B97F4A7C15)


def _places(sites: NDArray[np.int64], shape: tuple[int, ...], pixel: float) -> NDArray[np.float32]:
    at = np.stack(np.unravel_index(sites, shape), axis=1)
    return ((at - (np.array(shape) - 1) / 2) * pixel).astype(np.float32)


def lattice_cloud(masses: Tensor, sigma: float, pixel: float, lowest: float, most: int | None = None) -> GaussianCloud:
    """Return the Gaussians of a lattice.

    Parameters
    ----------
    masses : Tensor (z, y, x)
        Intensity per voxel of path.
    sigma : float
        Standard deviation in voxels.
    pixel : float
        In nm.
    lowest : float
        Masses up to this (in absolute value) are left out.
    most : int, optional
        Return a subsample of about this many; the same Gaussians are picked each time.
    """
    flat = masses.detach().flatten()
    sites = torch.nonzero(flat.abs() > lowest)[:, 0].cpu().numpy().astype(np.int64)
    if most is not None and len(sites) > most:
        with np.errstate(over="ignore"):
            order = (sites.astype(np.uint64) * _HASH) >> np.uint64(32)
        sites = sites[order < np.uint64(2**32 * most / len(sites))]
    mass = flat[torch.from_numpy(sites).to(flat.device)].cpu().numpy() * np.float32(pixel**2)
    scales = np.full((len(sites), 3), sigma * pixel, dtype=np.float32)
    return GaussianCloud(_places(sites, tuple(masses.shape), pixel), scales, mass, ids=sites)


class Hand:
    """Edits of a running lattice fit, by ids (the sites of the lattice), and their undoing.

    A deleted Gaussian stays deleted: its site is blocked. An added one sits on the nearest site, with the median mass.
    A moved one takes its mass to the nearest site and leaves its own blocked.
    """

    def __init__(self, fit: LatticeFit, pixel: float) -> None:
        self._fit, self._pixel = fit, pixel
        self._before: tuple[Tensor, Tensor | None] | None = None

    def apply(self, edit: Mapping[str, Any]) -> None:
        """Take one edit; ids that are not in the lattice are passed over."""
        fit = self._fit
        if edit.get("undo"):
            if self._before is not None:
                fit.replace(*self._before)
                self._before = None
            return
        self._before = (fit.masses.clone(), None if fit.blocked is None else fit.blocked.clone())
        masses = fit.masses.clone()
        blocked = torch.zeros_like(masses, dtype=torch.bool) if fit.blocked is None else fit.blocked.clone()
        flat, closed = masses.view(-1), blocked.view(-1)
        for site in self._known(edit.get("delete", ())):
            flat[site], closed[site] = 0, True
        there = flat[flat > 0.01 * flat.max()]
        usual = float(there.median()) if len(there) else fit.scale
        for place in edit.get("add", ()):
            site = self._nearest(place)
            closed[site] = False
            flat[site] = max(float(flat[site]), usual)
        for name, place in dict(edit.get("move", {})).items():
            for site in self._known([int(name)]):
                target, carried = self._nearest(place), float(flat[site])
                flat[site], closed[site] = 0, True
                closed[target] = False
                flat[target] += carried
        fit.replace(masses, blocked)

    def _known(self, ids: Any) -> list[int]:
        return [int(i) for i in ids if 0 <= int(i) < self._fit.masses.numel()]

    def _nearest(self, place: Any) -> int:
        shape = self._fit.masses.shape
        at = np.rint(np.asarray(place, dtype=float) / self._pixel + (np.array(shape) - 1) / 2).astype(int)
        return int(np.ravel_multi_index(tuple(np.clip(at, 0, np.array(shape) - 1)), tuple(shape)))
