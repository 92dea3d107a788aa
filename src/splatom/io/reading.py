"""Reading files: one front for every format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splatom.data import Atoms, GaussianCloud, TiltSeries, Volume
from splatom.io import cif, hdf5, matlab, mrc, npz, omezarr, pictures, rosetta, table, tiff, xyz
from splatom.io._decide import Plan, Wishes, build, plan
from splatom.io.errors import AnglesMissing, FileFault, faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from splatom.data import Contrast
    from splatom.io._found import Found, Kind

__all__ = ["describe", "read", "read_atoms", "read_series", "read_volume", "suffixes"]

_FINDERS: dict[str, Callable[[Path], Found]] = {
    suffix: module.find
    for module in (mrc, tiff, hdf5, npz, matlab, pictures, rosetta, omezarr)
    for suffix in module.SUFFIXES
}
_ATOMS: dict[str, tuple[str, Callable[[Path], Atoms]]] = {
    **dict.fromkeys(xyz.SUFFIXES, ("XYZ", xyz.read_xyz)),
    **dict.fromkeys(table.SUFFIXES, ("CSV", table.read_table)),
    **dict.fromkeys(cif.SUFFIXES, ("CIF", cif.read_cif)),
}


def suffixes() -> tuple[str, ...]:
    """Return the extensions that can be read, in lower case and with the dot."""
    return (*_FINDERS, *_ATOMS)


def read(
    path: str | Path,
    *,
    kind: Kind | None = None,
    angles: ArrayLike | str | Path | None = None,
    pixel_size: float | None = None,
    contrast: Contrast | None = None,
    axis_degrees: float | None = None,
) -> TiltSeries | Volume | Atoms | GaussianCloud:
    """Read a file or a folder of images.

    What the user says here goes before the file, the file before its neighbours' names; what was decided, and from
    what, is in the value's ``provenance.loading``. No image is flipped or turned: row 0 is the file's row 0.

    Parameters
    ----------
    path : str or Path
        ``.mrc .st .ali .mrcs .rec .map .tif .h5 .hspy .emd .npz .npy .mat .zarr .xyz .csv .cif``, a
        picture, a folder of images;
        ``.dm3 .dm4 .ser .emi`` with the extra ``splatom[formats]``.
    kind : {'series', 'volume', 'image', 'atoms'}, optional
        What is expected; a file that holds something else is a fault.
    angles : array or path, optional
        Tilt angles in degrees, (n,) or Euler (n, 3), or a text file of them; for a folder of images also ``'names'``:
        the last number in each file's name.
    pixel_size : float, optional
        nm; the voxel size of a volume.
    contrast : {'adf', 'bf', 'phase'}, optional
    axis_degrees : float, optional
        In-plane angle of the tilt axis from the rows' direction (see :meth:`splatom.ViewGeometry.single_axis`).

    Returns
    -------
    TiltSeries, Volume, Atoms or GaussianCloud
        A 2-D image comes as a TiltSeries of one view with ``provenance.loading['image']``.

    Raises
    ------
    AnglesMissing
        If it is a tilt series and no angles are known.
    FileFault
        If the file is bad or holds something else; one line says what.
    """
    path = Path(path)
    if path.suffix.lower() in _ATOMS:
        if kind not in (None, "atoms"):
            raise FileFault(path, f"holds atoms where a {kind} is needed")
        _check_there(path)
        return _ATOMS[path.suffix.lower()][1](path)
    found = _find(path)
    if found.kind == "cloud":
        if kind not in (None, "cloud"):
            raise FileFault(path, f"holds Gaussians where a {kind} is needed")
        return npz.read_cloud(path)
    return build(path, found, plan(path, found, Wishes(kind, angles, pixel_size, contrast, axis_degrees)))


def read_series(path: str | Path, **wishes: Any) -> TiltSeries:
    """Read a tilt series; the arguments are those of :func:`read`. A 2-D image is a fault."""
    value = read(path, **{"kind": "series", **wishes})
    if not isinstance(value, TiltSeries):
        raise FileFault(path, f"holds a {type(value).__name__}, not a tilt series")
    return value


def read_volume(path: str | Path) -> Volume:
    """Read a volume (see :func:`read`)."""
    value = read(path, kind="volume")
    if not isinstance(value, Volume):
        raise FileFault(path, f"holds a {type(value).__name__}, not a volume")
    return value


def read_atoms(path: str | Path) -> Atoms:
    """Read atoms (see :func:`read`)."""
    value = read(path, kind="atoms")
    if not isinstance(value, Atoms):
        raise FileFault(path, f"holds a {type(value).__name__}, not atoms")
    return value


def describe(path: str | Path) -> dict[str, Any]:
    """Say what a file holds, from its headers where the format allows.

    Returns
    -------
    dict
        JSON values: ``kind``, ``shape``, ``dtype``, ``angles`` (None where unknown), ``pixel_size`` (nm), ``contrast``,
        ``format``, ``loading``; for atoms ``n_atoms`` and ``species``.
    """
    path = Path(path)
    if path.suffix.lower() in _ATOMS:
        _check_there(path)
        name, reader = _ATOMS[path.suffix.lower()]
        atoms = reader(path)
        species = dict(sorted(Counter(atoms.species.tolist()).items()))
        return {"file": str(path), "kind": "atoms", "format": name, "n_atoms": len(atoms), "species": species}
    found = _find(path)
    out: dict[str, Any] = {
        "file": str(path),
        "kind": found.kind,
        "format": found.format,
        "shape": list(found.shape),
        "dtype": found.dtype.name,
    }
    if found.kind == "cloud":
        return {**out, "n_gaussians": found.shape[0]}
    try:
        decided = plan(path, found, Wishes())
    except AnglesMissing as missing:
        decided = Plan("series", None, found.pixel_size, found.contrast or "adf", 0.0, None, {"notes": [missing.fault]})
    out["kind"] = decided.kind
    if decided.kind == "series":
        out["angles"] = None if decided.angles is None else decided.angles.tolist()
        out["axis_degrees"] = decided.axis_degrees
    out["voxel_size" if decided.kind == "volume" else "pixel_size"] = decided.pixel_size
    if decided.kind != "volume":
        out["contrast"] = decided.contrast
    out["loading"] = decided.loading
    if "provenance" in found.fields:
        from splatom.io._fields import provenance_from

        with faults(path):
            out["provenance"] = provenance_from(found.fields["provenance"]).to_dict()
    return out


def _find(path: Path) -> Found:
    """Read the headers of whatever the path names."""
    _check_there(path)
    with faults(path):
        if path.is_dir():
            if path.suffix.lower() == ".zarr" or omezarr.is_zarr(path):
                return omezarr.find(path)
            images = {s: f for s, f in _FINDERS.items() if s in _IN_FOLDERS}
            return pictures.find_folder(path, images)
    finder = _FINDERS.get(path.suffix.lower())
    if finder is None:
        raise FileFault(path, f"'{path.suffix}' is not a format that can be read ({' '.join(suffixes())})")
    return finder(path)


def _check_there(path: Path) -> None:
    with faults(path):
        if not path.exists():
            raise FileFault(path, "no such file or folder; check the name")
        if path.is_file() and path.stat().st_size == 0:
            raise FileFault(path, "is empty (0 bytes); copy it again")


_IN_FOLDERS = (*tiff.SUFFIXES, *pictures.SUFFIXES, ".dm3", ".dm4", ".ser", ".mrc")
