"""Files into layers. Imports neither torch nor napari: napari asks every reader before it opens a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["get_reader", "read_layers"]

LayerData = tuple[Any, ...]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return the reader of a path, None if it is none of Splatom's formats.

    Parameters
    ----------
    path : str or list of str
        A file or a folder of images; of several files each becomes a layer.
    """
    paths = [path] if isinstance(path, str) else list(path)
    from splatom.io import suffixes

    known = suffixes()
    if all(Path(p).is_dir() or Path(p).suffix.lower() in known for p in paths):
        return read_layers
    return None


def read_layers(path: str | list[str]) -> list[LayerData]:
    """Read files as layer data; a fault becomes one line in napari and no layer."""
    out = [layer for p in ([path] if isinstance(path, str) else path) for layer in _read(Path(p))]
    return out or [(None,)]  # napari's sign for: read, and nothing to show


def _read(path: Path) -> list[LayerData]:
    from splatom.io import AnglesMissing, FileFault, read
    from splatom.plugin.layers import to_layer
    from splatom.plugin.overlays import overlays

    try:
        value, where = read(path), str(path)
        return [to_layer(value, path.stem, path=where), *overlays(value, path.stem, path=where)]
    except AnglesMissing as missing:
        return _without_angles(path, missing.n_tilts)
    except FileFault as fault:
        from napari.utils.notifications import show_error

        show_error(str(fault))
        return []


def _without_angles(path: Path, n_tilts: int) -> list[LayerData]:
    """Show a stack whose angles nobody knows: the dock Tilt series asks for them, nothing is guessed."""
    from napari.utils.notifications import show_error, show_warning

    from splatom.data import TiltSeries
    from splatom.geometry import ViewGeometry
    from splatom.io import FileFault, read_volume
    from splatom.plugin.layers import to_layer

    try:
        stack = read_volume(path)
    except FileFault as fault:
        show_error(str(fault))
        return []
    # The geometry only serves to place the images; the layer keeps no value, so that nothing can run on it.
    still = TiltSeries(stack.data, ViewGeometry.single_axis([0.0] * n_tilts), pixel_size=stack.voxel_size)
    data, attributes, kind = to_layer(still, path.stem)
    attributes["metadata"] = {
        "splatom": {"kind": "series", "angles_missing": True, "n_tilts": n_tilts, "path": str(path)}
    }
    show_warning(f"{path.name}: no tilt angles found for its {n_tilts} images. Give them in the dock Tilt series.")
    return [(data, attributes, kind)]
