"""From what a file holds, what lies beside it and what the user said to one value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from splatom.data import Contrast, Provenance, TiltSeries, Volume
from splatom.geometry import ViewGeometry
from splatom.io._fields import provenance_from, series_kwargs
from splatom.io._found import Found, Kind
from splatom.io.angles import angles_beside, read_angles
from splatom.io.errors import AnglesMissing, FileFault, faults
from splatom.io.xf import apply_xf, read_xf

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Plan", "Wishes", "build", "plan"]


@dataclass(frozen=True)
class Wishes:
    """What the user said; it goes before everything else."""

    kind: Kind | None = None
    angles: ArrayLike | str | Path | None = None
    pixel_size: float | None = None
    contrast: Contrast | None = None
    axis_degrees: float | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """What a file will be read as. Angles are None for anything but a series."""

    kind: Kind
    angles: NDArray[np.float64] | None
    pixel_size: float | None
    contrast: Contrast
    axis_degrees: float
    xf: Path | None
    loading: dict[str, Any] = field(default_factory=dict)


def plan(path: Path, found: Found, wishes: Wishes) -> Plan:
    """Decide what to read a file as.

    Raises
    ------
    AnglesMissing
        If it is a series and nobody says the angles.
    FileFault
        If what was asked and what the file holds disagree.
    """
    _check_pixels(path, found)
    notes = list(found.notes)
    xf = path.with_suffix(".xf")
    use_xf = path.is_file() and path.suffix.lower() not in (".ali", ".xf") and xf.is_file()
    use_xf = use_xf and found.format == "MRC" and found.own_sidecars is not False
    angles, angles_from = _user_angles(path, found, wishes)
    ndim = len(found.shape)
    looked_at: tuple[str, ...] = ()
    if ndim == 3 and angles is None and found.kind in (None, "series") and wishes.kind in (None, "series"):
        may_look = found.angles is None or found.format == "MRC"
        if may_look and not (found.hint == "volume" and path.suffix.lower() in (".rec", ".map") and not wishes.kind):
            refined_first = use_xf or path.suffix.lower() == ".ali"
            angles, angles_from, looked_at = angles_beside(path, found.shape[0], refined_first)
            notes += looked_at
        if angles is None:
            angles, angles_from = found.angles, found.angles_from
        elif found.angles is not None:
            notes.append(f"angles taken from {angles_from}, not from the {found.angles_from}")
    kind = _kind(path, found, wishes, angles)
    loading: dict[str, Any] = {"file": str(path), "format": found.format, "flips": "none: row 0 is the file's row 0"}
    if kind == "series":
        if angles is None:
            raise AnglesMissing(path, found.shape[0], "; ".join(looked_at))
        angles = _checked(path, angles, found.shape[0], angles_from)
        loading["angles_from"] = angles_from
        if angles.ndim == 2:
            loading["angles_layout"] = "euler"
    else:
        angles, use_xf = None, False
        if kind == found.hint and found.why and wishes.kind is None:
            notes.append(f"read as {'an image' if kind == 'image' else 'a volume'}: {found.why}")
    pixel = found.pixel_size if wishes.pixel_size is None else float(wishes.pixel_size)
    if pixel is not None and not (np.isfinite(pixel) and pixel > 0):
        raise FileFault(path, f"its pixel size is {pixel} nm; give a positive one with --pixel-size")
    loading["pixel_size_from"] = "user" if wishes.pixel_size is not None else found.pixel_from or "not stated"
    contrast = _contrast(path, found, wishes, loading) if kind != "volume" else "adf"
    axis = 0.0
    if kind == "series":
        stated = wishes.axis_degrees if wishes.axis_degrees is not None else found.axis_degrees
        # IMOD's transforms say the axis anew, from tilts about the rows' direction.
        axis = 0.0 if use_xf else float(stated or 0.0)
        if wishes.axis_degrees is not None:
            loading["axis_from"] = "user"
        elif found.axis_degrees is not None and not use_xf:
            loading["axis_from"] = "header"
            notes.append(f"tilt axis {found.axis_degrees:g}° from the rows' direction, as the header says")
    if use_xf:
        loading["transforms_from"] = xf.name
        notes.append(f"{xf.name} applied: its shifts and rotation are in the geometry, the pixels as they were")
    if notes:
        loading["notes"] = notes
    return Plan(kind, angles, pixel, contrast, axis, xf if use_xf else None, loading)


def build(path: Path, found: Found, decided: Plan) -> TiltSeries | Volume:
    """Read the pixels and make the value."""
    with faults(path):
        data = found.load()
        saved = found.fields.get("provenance")
        before = Provenance(source=str(path)) if saved is None else provenance_from(saved)
        loading = {k: v for k, v in before.loading.items() if k not in ("notes", "image")} | decided.loading
        if decided.kind == "image":
            loading["image"] = True
        provenance = replace(before, loading=loading)
        if decided.kind == "volume":
            return Volume(
                data,
                decided.pixel_size,
                origin_zyx=tuple(np.asarray(found.fields.get("origin_zyx", (0.0, 0.0, 0.0))).tolist()),
                std=found.fields["std"]() if "std" in found.fields else None,
                provenance=provenance,
            )
        if decided.kind == "image":
            return TiltSeries(
                data[None],
                ViewGeometry.single_axis([0.0]),
                pixel_size=decided.pixel_size,
                contrast=decided.contrast,
                provenance=provenance,
            )
        fields = dict(found.fields)
        if callable(fields.get("mask")):
            fields["mask"] = fields["mask"]()
        series = TiltSeries(
            data,
            pixel_size=decided.pixel_size,
            contrast=decided.contrast,
            provenance=provenance,
            **series_kwargs(fields, len(data), decided.angles, decided.axis_degrees),
        )
    if decided.xf is not None:
        return apply_xf(series, read_xf(decided.xf))
    return series


def _check_pixels(path: Path, found: Found) -> None:
    dtype = np.dtype(found.dtype)
    if dtype.kind == "c":
        raise FileFault(path, "holds complex numbers; save real ones (the modulus, for example)")
    if dtype.kind not in "biuf":
        raise FileFault(path, f"holds {dtype} where numbers were expected")
    if len(found.shape) not in (2, 3):
        raise FileFault(path, f"holds an array of shape {found.shape}; expected 2 or 3 axes")
    if 0 in found.shape:
        raise FileFault(path, f"is empty: an array of shape {found.shape}")


def _user_angles(path: Path, found: Found, wishes: Wishes) -> tuple[NDArray[np.float64] | None, str]:
    given = wishes.angles
    if given is None:
        return None, ""
    if isinstance(given, str | Path):
        if str(given) == "names":
            by_name = found.fields.get("angles_by_name")
            if by_name is None:
                raise FileFault(path, "is no folder of images: angles can be taken from file names only there")
            return by_name(), "file names"
        return read_angles(given), str(given)
    try:
        return np.asarray(given, dtype=np.float64), "user"
    except (TypeError, ValueError) as error:
        raise FileFault(path, "the angles given are not a list of numbers") from error


def _kind(path: Path, found: Found, wishes: Wishes, angles: NDArray[np.float64] | None) -> Kind:
    asked, ndim = wishes.kind, len(found.shape)
    if ndim == 2:
        if asked in (None, "image"):
            return "image"
        wanted = "a tilt series" if asked == "series" else f"a {asked}"
        raise FileFault(path, f"holds a single 2-D image of shape {found.shape} where {wanted} is needed")
    if found.kind is not None and asked is not None and asked != found.kind:
        raise FileFault(path, f"holds a {_WORDS[found.kind]}, not a {_WORDS[asked]}; give a file of the right kind")
    if asked == "image" and found.shape[0] > 1:
        raise FileFault(path, f"holds {found.shape[0]} images where one 2-D image is needed")
    if asked not in (None, "series", "volume", "image"):
        raise FileFault(path, f"holds an array of shape {found.shape}, not {asked}")
    kind = asked or found.kind
    if kind is None:
        kind = "series" if angles is not None else found.hint
    return kind or "series"


_WORDS = {"series": "tilt series", "volume": "volume", "image": "2-D image", "atoms": "set of atoms", "cloud": "cloud"}


def _checked(path: Path, angles: NDArray[np.float64], n: int, where: str) -> NDArray[np.float64]:
    fits = angles.ndim == 1 or (angles.ndim == 2 and angles.shape[1] == 3)
    if not fits:
        raise FileFault(path, f"its angles have shape {angles.shape}; expected (n,) or (n, 3)")
    if len(angles) != n:
        raise FileFault(path, f"{len(angles)} angles (from {where}) for {n} projections; give one angle a projection")
    if not np.isfinite(angles).all():
        raise FileFault(path, f"its angles (from {where}) hold values that are not finite; mend them")
    return angles


def _contrast(path: Path, found: Found, wishes: Wishes, loading: dict[str, Any]) -> Contrast:
    loading["contrast_from"] = "user" if wishes.contrast else "file" if found.contrast else "default: adf, not stated"
    contrast = wishes.contrast or found.contrast or "adf"
    if contrast not in get_args(Contrast):
        raise FileFault(path, f"contrast is {contrast!r}; allowed are adf, bf and phase")
    return contrast
