"""Writing values to files; the extension says the format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from splatom.data import Atoms, GaussianCloud, TiltSeries, Volume
from splatom.io import cif, mrc, npz, omezarr, table, tiff, xyz
from splatom.io._fields import is_image, series_fields, volume_fields
from splatom.io._save import replacing
from splatom.io.errors import FileFault
from splatom.io.xf import xf_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["write"]

Value = TiltSeries | Volume | Atoms | GaussianCloud


def write(path: str | Path, value: Value) -> Path:
    """Write a value; the extension says the format.

    ======================  ==================================================================================
    ``.npz``                everything, exactly (series, images, volumes, Gaussian clouds)
    ``.mrc .st .ali``       a series, with ``.rawtlt`` beside it, and ``.xf`` if it has shifts or an oblique axis
    ``.mrc .rec .map``      a volume, with voxel size and origin
    ``.tif``, ``.zarr``     series, images and volumes, with all but mask and std (OME-Zarr in nm)
    ``.xyz .csv``           atoms with all that is known of each (extended XYZ or a table, Å)
    ``.cif``                atoms' places and species, in a box around them
    ======================  ==================================================================================

    The file appears at once and whole: it is written beside its place and renamed.

    Parameters
    ----------
    path : str or Path
    value : TiltSeries, Volume, Atoms or GaussianCloud
        A series of one view that was read from a 2-D image is written as a 2-D image again.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    FileFault
        If the format cannot hold the value, or the place cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    writers = _WRITERS.get(type(value))
    if writers is None:
        raise FileFault(path, f"cannot hold a {type(value).__name__}; write a {', '.join(_names())}")
    writer = writers.get(suffix)
    if writer is None:
        raise FileFault(path, f"a {type(value).__name__} is written as {' '.join(writers)}, not as '{suffix}'")
    if suffix not in omezarr.SUFFIXES and path.is_dir():
        raise FileFault(path, "is a folder; give a file's name")
    writer(path, value)
    return path


def _names() -> list[str]:
    return [t.__name__ for t in get_args(Value)]


def _series_npz(path: Path, series: TiltSeries) -> None:
    arrays: dict[str, Any]
    if is_image(series):
        arrays = {"image": series.projections[0]}
        if series.pixel_size is not None:
            arrays["pixel_size"] = np.float64(series.pixel_size)
        origin = series.provenance.loading.get("contrast_from")
        if origin == "file" or (origin == "user" and series.contrast != "adf"):
            arrays["contrast"] = np.str_(series.contrast)
    else:
        arrays = {"projections": series.projections, **series_fields(series)}
        if series.mask is not None:
            arrays["mask"] = series.mask
    with replacing(path) as (fresh,):
        npz.write_npz(fresh, arrays)


def _volume_npz(path: Path, volume: Volume) -> None:
    arrays = {"volume": volume.data, **volume_fields(volume)}
    if volume.std is not None:
        arrays["std"] = volume.std
    with replacing(path) as (fresh,):
        npz.write_npz(fresh, arrays)


def _cloud_npz(path: Path, cloud: GaussianCloud) -> None:
    import json

    names = ("centres_zyx", "scales", "mass", "rotations", "ids", "uncertainty", "species")
    arrays = {name: getattr(cloud, name) for name in names if getattr(cloud, name) is not None}
    arrays["kind"] = "cloud"
    arrays["provenance"] = json.dumps(cloud.provenance.to_dict(), default=str)
    with replacing(path) as (fresh,):
        npz.write_npz(fresh, arrays)


def _series_mrc(path: Path, series: TiltSeries) -> None:
    if is_image(series):
        with replacing(path) as (fresh,):
            mrc.write_stack(fresh, series.projections[0], series.pixel_size, "Splatom: image")
        return
    geometry = series.geometry
    plain = geometry.is_single_axis and not geometry.shifts.any()
    transforms = None if plain else xf_text(geometry)
    if not plain and transforms is None:
        raise FileFault(path, "an MRC series cannot hold views about more than one axis; write an .npz instead")
    if transforms is not None and path.suffix.lower() == ".ali":
        raise FileFault(path, "an .ali file is aligned already, this series has shifts; write .mrc or .npz instead")
    beside = [path.with_suffix(".rawtlt")] + ([path.with_suffix(".xf")] if transforms is not None else [])
    label = "Splatom: tilt series" + ("; transforms in .xf" if transforms is not None else "")
    with replacing(*beside, path) as fresh:
        fresh[0].write_text("".join(f"{a:.6f}\n" for a in series.angles), encoding="ascii")
        if transforms is not None:
            fresh[1].write_text(transforms, encoding="ascii")
        mrc.write_stack(fresh[-1], series.projections, series.pixel_size, label)


def _volume_mrc(path: Path, volume: Volume) -> None:
    with replacing(path) as (fresh,):
        mrc.write_volume(fresh, volume)


def _parts(value: TiltSeries | Volume) -> tuple[Any, str, dict[str, Any], float | None]:
    """Pixels, kind, small fields and pixel size of a value."""
    if isinstance(value, Volume):
        return value.data, "volume", volume_fields(value), value.voxel_size
    if is_image(value):
        fields = {k: v for k, v in series_fields(value).items() if k in ("pixel_size", "contrast")}
        return value.projections[0], "image", fields, value.pixel_size
    return value.projections, "series", series_fields(value), value.pixel_size


def _tiff(path: Path, value: TiltSeries | Volume) -> None:
    with replacing(path) as (fresh,):
        tiff.write_tiff(fresh, *_parts(value))


def _zarr(path: Path, value: TiltSeries | Volume) -> None:
    if path.exists() and not (path.is_dir() and omezarr.is_zarr(path)):
        raise FileFault(path, "is there already and is no Zarr folder; choose another name")
    with replacing(path) as (fresh,):
        omezarr.write_zarr(fresh, *_parts(value))


def _xyz(path: Path, atoms: Atoms) -> None:
    with replacing(path) as (fresh,):
        fresh.write_text(xyz.xyz_text(atoms), encoding="utf-8")


def _table(path: Path, atoms: Atoms) -> None:
    with replacing(path) as (fresh,):
        fresh.write_text(table.table_text(atoms), encoding="utf-8")


def _cif(path: Path, atoms: Atoms) -> None:
    with replacing(path) as (fresh,):
        cif.write_cif(fresh, atoms)


_WRITERS: dict[type, dict[str, Callable[[Path, Any], None]]] = {
    TiltSeries: {
        ".npz": _series_npz,
        ".mrc": _series_mrc,
        ".st": _series_mrc,
        ".mrcs": _series_mrc,
        ".ali": _series_mrc,
        ".tif": _tiff,
        ".tiff": _tiff,
        ".zarr": _zarr,
    },
    Volume: {
        ".npz": _volume_npz,
        ".mrc": _volume_mrc,
        ".rec": _volume_mrc,
        ".map": _volume_mrc,
        ".tif": _tiff,
        ".tiff": _tiff,
        ".zarr": _zarr,
    },
    Atoms: {".xyz": _xyz, ".extxyz": _xyz, ".csv": _table, ".cif": _cif},
    GaussianCloud: {".npz": _cloud_npz},
}
