"""Single pictures (.png and the like) and folders of images, one file a tilt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.io._found import Found, contrast_in_name
from splatom.io.angles import angles_from_names
from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "find", "find_folder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".webp")


def find(path: Path) -> Found:
    """Read the header of a picture (see :class:`Found`). Colour is refused unless its channels are equal."""
    from PIL import Image

    with faults(path), Image.open(path) as picture:
        bands, (width, height) = picture.getbands(), picture.size
        deep = picture.mode.startswith(("I", "F"))

    def load() -> NDArray[Any]:
        with faults(path), Image.open(path) as again:
            pixels = np.asarray(again.convert("RGB") if again.mode in ("P", "PA") else again)
        if pixels.ndim == 3:
            if pixels.shape[2] in (2, 4):
                pixels = pixels[:, :, :-1]  # opacity says nothing
            if (pixels != pixels[:, :, :1]).any():
                raise FileFault(path, "is a colour picture; save it as greyscale")
            pixels = pixels[:, :, 0]
        return pixels

    notes = () if len(bands) == 1 else (f"{len(bands)} channels; grey taken from the first, the others equal it",)
    return Found(
        shape=(height, width),
        dtype=np.dtype(np.int32 if deep else np.uint8),
        load=load,
        format="picture",
        contrast=contrast_in_name(path),
        notes=notes,
    )


def find_folder(path: Path, finders: dict[str, Callable[[Path], Found]]) -> Found:
    """Take a folder of images of one kind as a stack, in natural order of their names.

    Parameters
    ----------
    path : Path
    finders : dict
        The ``find`` of each suffix.
    """
    with faults(path):
        inside = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    by_suffix: dict[str, list[Path]] = {}
    for p in inside:
        if p.suffix.lower() in finders:
            by_suffix.setdefault(p.suffix.lower(), []).append(p)
    if not by_suffix:
        raise FileFault(path, "is a folder without images; give a folder of TIFF, PNG, DM or MRC images, or a file")
    suffix = max(by_suffix, key=lambda s: len(by_suffix[s]))
    names = sorted(by_suffix[suffix], key=_natural)
    parts = [finders[suffix](p) for p in names]
    flat = [(p, f) for p, f in zip(names, parts, strict=True) if len(f.shape) == 2 or f.shape[0] == 1]
    taken = {p for p, _ in flat}
    notes = [f"left aside: {p.name} of shape {f.shape}" for p, f in zip(names, parts, strict=True) if p not in taken]
    if not flat:
        raise FileFault(path, f"holds no single 2-D {suffix} images; open one of its files instead")
    shape = flat[0][1].shape[-2:]
    for p, f in flat:
        if f.shape[-2:] != shape:
            raise FileFault(p, f"is {f.shape[-2:]} pixels where {flat[0][0].name} is {shape}; crop or remove it")
    if len(by_suffix) > 1:
        notes.append(f"only the {len(flat)} {suffix} images were taken")
    stated = [f.angles[0] for _, f in flat if f.angles is not None and f.angles.size == 1]
    first = flat[0][1]
    dtype = np.result_type(*[f.dtype for _, f in flat])

    def load() -> NDArray[Any]:
        out = np.empty((len(flat), *shape), dtype)
        for i, (_, f) in enumerate(flat):
            out[i] = f.load().reshape(shape)
        return out

    return Found(
        shape=(len(flat), *shape),
        dtype=dtype,
        load=load,
        format=f"folder of {first.format}",
        angles=np.array(stated, dtype=np.float64) if len(stated) == len(flat) else None,
        angles_from="images' metadata" if len(stated) == len(flat) else "",
        pixel_size=first.pixel_size,
        pixel_from=first.pixel_from,
        contrast=first.contrast or contrast_in_name(path),
        fields={"angles_by_name": lambda: angles_from_names([p for p, _ in flat])},
        notes=(*notes, f"order of images: {flat[0][0].name} ... {flat[-1][0].name}"),
    )


def _natural(path: Path) -> list[tuple[int, float, str]]:
    """Sort key that puts image2 before image10."""
    pieces = re.split(r"(\d+)", path.name.lower())
    return [(0, float(p), "") if p.isdigit() and p.isascii() else (1, 0.0, p) for p in pieces]
