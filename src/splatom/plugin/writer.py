"""Layers into files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["value_to_write", "write_layer"]


def write_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write the value that a layer shows; the extension says the format.

    Parameters
    ----------
    path : str
    data : array
        The layer's data.
    attributes : dict
        The layer's attributes; ``metadata["splatom"]["value"]`` holds the value of Splatom's own layers.

    Returns
    -------
    list of str
        The files written; none after a fault, which is told in one line.
    """
    from splatom.io import FileFault, write

    try:
        return [str(write(Path(path), value_to_write(data, attributes)))]
    except (FileFault, ValueError) as fault:
        from napari.utils.notifications import show_error

        show_error(str(fault))
        return []


def value_to_write(data: Any, attributes: dict[str, Any]) -> Any:
    """Return the value of a layer; a 3-D image of another plugin is taken as a volume, points as atoms.

    Raises
    ------
    ValueError
        If it is neither.
    """
    from splatom.data import Atoms, Volume

    value = attributes.get("metadata", {}).get("splatom", {}).get("value")
    if value is not None:
        return value
    array, units = np.asarray(data), [str(u) for u in attributes.get("units") or ()]
    size = float(np.ravel(attributes.get("scale", (1.0,)))[-1])
    if array.ndim == 2 and array.shape[1:] == (3,):
        return Atoms(array * size)
    if array.ndim == 3:
        return Volume(array, size if units and units[-1] in ("nm", "nanometer") else None)
    raise ValueError(f"the layer '{attributes.get('name', '')}' is no tilt series, volume or set of atoms of Splatom")
