"""Gaussians and atoms as points: which are drawn, where, how large, and in what colour."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Atoms, GaussianCloud

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "COLOUR_BY", "Colouring", "chosen", "colouring", "drawn", "features_of", "ids_of", "quantity", "shown_of",
    "species_colour",
]  # fmt: skip

#: What points can be coloured by, with its unit and what it is, for the tooltips.
COLOUR_BY = {
    "denza": ("intensity/nm", "scattering strength: mass per volume at the centre"),
    "species": ("", "chemical species"),
    "residual": ("intensity", "mean of measured less predicted where the point projects: red is too little matter"),
    "uncertainty": ("pm", "one standard deviation of the position"),
    "amplitude": ("intensity · nm²", "integrated mass, the same in every view"),
    "confidence": ("", "how sure the species is, from 0 to 1"),
}

_ATOM_NM = 0.2  # diameter at which an atom of unknown width is drawn
_SPECIES = ("#ffd123", "#5c8fd6", "#c7c7d1", "#e0633d", "#76c26b", "#b07cc6", "#e58fb5", "#8ed0d8")
_UNKNOWN = (0.6, 0.6, 0.6, 1.0)

Points = GaussianCloud | Atoms


@dataclass(frozen=True, eq=False)
class Colouring:
    """Colours of points, and what they mean.

    Parameters
    ----------
    rgba : array (n, 4)
    by : str
        One of :data:`COLOUR_BY`.
    low, high : float
        Values at both ends of the colour map.
    names : dict
        Colour by species, where that is what is shown.
    known : bool
        Whether the quantity is known; all points are grey where it is not.
    """

    rgba: NDArray[np.float64]
    by: str
    low: float = 0.0
    high: float = 1.0
    names: dict[str, str] | None = None
    known: bool = True

    @property
    def legend(self) -> str:
        """One line of rich text."""
        if not self.known:
            return f"The {self.by} of these points is not known: all are grey."
        if self.names is not None:
            return " &nbsp; ".join(f"<span style='color:{c}'>&#9679;</span> {n}" for n, c in self.names.items())
        unit = COLOUR_BY[self.by][0]
        ends = ("blue", "red") if self.by == "residual" else ("violet", "yellow")
        low, high = (f"{v:.3g}".replace("-", "−") for v in (self.low, self.high))
        return f"{ends[0]} {low} … {ends[1]} {high} {unit}".strip()


# ---------------------------------------------------------------- which, where, how large
def ids_of(value: Points) -> NDArray[np.int64]:
    """Names of the points: the ids of Gaussians, the index of atoms; (n,)."""
    return value.ids if isinstance(value, GaussianCloud) else np.arange(len(value))


def chosen(value: Points, most: int) -> slice | NDArray[np.int64]:
    """Which points are drawn: ranked by a hash of their ids, so that the same ones stay from update to update."""
    if len(value) <= most:
        return slice(None)
    rank = (ids_of(value).astype(np.uint64) * np.uint64(11400714819323198485)) >> np.uint64(32)
    return np.sort(np.argpartition(rank, most)[:most])


def shown_of(shown: int, total: int) -> str:
    """Return what a layer's name says of a subsample; nothing where all are shown."""
    return f" (showing {shown:,} of {total:,})".replace(",", " ") if shown < total else ""


def drawn(value: Points, pick: Any) -> dict[str, Any]:
    """Return position in nm and diameter of points, in arrays of their own: a user may drag them."""
    if isinstance(value, Atoms):
        widths = np.full(len(value), _ATOM_NM) if value.b_factor is None else 2 * np.asarray(value.b_factor)
        return {"data": np.array(value.positions_zyx[pick]), "size": widths[pick]}
    size = 2 * value.scales[pick].mean(axis=1).astype(np.float64)
    return {"data": np.array(value.centres_zyx[pick], dtype=np.float64), "size": size}


def features_of(value: Points, pick: Any) -> dict[str, NDArray[Any]]:
    """Return a table of what is known of each point: its id and the quantities of :func:`quantity`."""
    found = {"id": np.array(ids_of(value)[pick])}
    species = value.species
    if species is not None:
        found["species"] = np.array(species[pick])
    for name in ("amplitude", "denza", "uncertainty", "confidence"):
        values = quantity(value, name)
        if values is not None:
            found[name] = np.array(values[pick])
    return found


# ---------------------------------------------------------------- quantities and colours
def quantity(value: Points, name: str) -> NDArray[np.float64] | None:
    """Return a number for every point, None where it is not known: those of :data:`COLOUR_BY`, and 'width' in pm."""
    out: Any = None
    if name == "confidence":
        out = getattr(value, "confidence", None)
    elif isinstance(value, GaussianCloud):
        if name == "uncertainty":
            out = None if value.uncertainty is None else 1000 * value.uncertainty
        elif name == "width":
            out = 1000 * value.scales.mean(axis=1)
        else:
            out = {"amplitude": value.mass, "denza": value.denza}.get(name)
    elif name == "amplitude":
        out = value.amplitude
    elif name == "width":
        out = None if value.b_factor is None else 1000 * value.b_factor
    elif name == "denza" and value.amplitude is not None and value.b_factor is not None:
        out = value.amplitude / ((2 * np.pi) ** 1.5 * np.maximum(value.b_factor, 1e-6) ** 3)
    elif name == "uncertainty" and value.sigma_zyx is not None:
        out = 1000 * np.sqrt((value.sigma_zyx**2).sum(axis=1))
    return None if out is None else np.asarray(out, dtype=np.float64)


def colouring(value: Points, by: str | None = None, residual: NDArray[Any] | None = None) -> Colouring:
    """Colour points.

    Parameters
    ----------
    value : GaussianCloud or Atoms
    by : str, optional
        One of :data:`COLOUR_BY`; by default the species of atoms and the denza of Gaussians.
    residual : array (n,), optional
        What 'residual' shows; NaN where it is not known.
    """
    by = by or ("species" if isinstance(value, Atoms) else "denza")
    if by == "species":
        return _by_species(value)
    values = residual if by == "residual" else quantity(value, by)
    grey = np.tile(_UNKNOWN, (len(value), 1))
    seen = np.zeros(len(value), bool) if values is None else np.isfinite(values)
    if values is None or not seen.any():
        return Colouring(grey, by, known=False)
    if by == "residual":
        high = float(np.percentile(np.abs(values[seen]), 99)) or 1.0
        low, table = -high, _table("residual")
    else:
        low, high = (0.0, 1.0) if by == "confidence" else (0.0, float(np.percentile(values[seen], 99)) or 1.0)
        table = _table("viridis")
    with np.errstate(invalid="ignore"):
        fractions = np.clip((values - low) / (high - low), 0, 1)
    index = np.rint(255 * np.where(seen, fractions, 0)).astype(np.int64)
    return Colouring(np.where(seen[:, None], table[index], grey), by, low, high)


@cache
def _table(name: str) -> NDArray[np.float64]:
    """256 colours of a map, (256, 4)."""
    if name == "residual":  # as the difference panes: blue, near white, red
        stops = np.array([(33, 102, 172, 255), (247, 247, 247, 255), (178, 24, 43, 255)]) / 255
        return np.stack([np.interp(np.linspace(0, 2, 256), (0, 1, 2), channel) for channel in stops.T], axis=1)
    from napari.utils.colormaps import ensure_colormap

    return np.asarray(ensure_colormap(name).map(np.linspace(0, 1, 256)))


def species_colour(names: Any) -> dict[str, str]:
    """Return a colour for every species, in alphabetical order; X, unknown, is grey."""
    known = [str(n) for n in np.unique(names) if n != "X"]
    out = {n: _SPECIES[i % len(_SPECIES)] for i, n in enumerate(known)}
    return {**out, "X": "#b9bcc4"} if len(known) < len(np.unique(names)) else out


def _by_species(value: Points) -> Colouring:
    if value.species is None:
        return Colouring(np.tile(_UNKNOWN, (len(value), 1)), "species", known=False)
    names, index = np.unique(value.species, return_inverse=True)
    colours = species_colour(names)
    table = [(*(int(colours[str(n)][i : i + 2], 16) / 255 for i in (1, 3, 5)), 1.0) for n in names]
    return Colouring(np.array(table).reshape(-1, 4)[index].reshape(-1, 4), "species", names=colours)
