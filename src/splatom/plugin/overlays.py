"""What lies over a volume, such as how sure each voxel is: layers that stay hidden until ticked. No Qt here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from splatom.data import Volume
from splatom.jobs import Extra
from splatom.plugin.layers import LayerData, to_layer

__all__ = ["add_layers", "overlays"]

#: A veil: clear where it is zero, and seen on black and on white alike.
_COLOURS = {"orange": (1.0, 0.45, 0.0), "cyan": (0.0, 0.75, 1.0), "magenta": (1.0, 0.2, 0.8)}
_SPREAD = "spread: about how far the result may be off, and not a standard error"


def overlays(result: Any, name: str, extras: Mapping[str, Extra] | None = None, **record: Any) -> list[LayerData]:
    """Return layer data of what lies over a volume: its spread, and what its method handed over beside it.

    Parameters
    ----------
    result : Volume or other value
        Anything else has no overlays.
    name : str
        Name of the volume's layer.
    extras : dict of Extra, optional
    **record
        Written into ``metadata["splatom"]``, beside ``overlay`` (its title) and ``means`` (what it shows).
    """
    if not isinstance(result, Volume):
        return []
    found = {k: extra for k, extra in (extras or {}).items() if isinstance(extra.value, Volume)}
    if result.std is not None:
        found = {"spread": Extra(result.with_(data=result.std, std=None), _SPREAD), **found}
    out = []
    for (title, extra), colour in zip(found.items(), _COLOURS, strict=False):
        data = extra.value.data
        top = extra.highest or float(np.percentile(data, 99.9)) or float(data.max()) or 1.0
        means = f"{extra.means[:1].upper()}{extra.means[1:]}; {colour} from 0 to {top:.3g}."
        _, look, kind = to_layer(extra.value, f"{name} {title}", **record, overlay=title, means=means)
        look["colormap"] = {"colors": [(*_COLOURS[colour], alpha) for alpha in (0.0, 1.0)], "name": f"{colour} veil"}
        look |= {"contrast_limits": (0.0, top), "opacity": 0.8, "visible": False, "blending": "translucent_no_depth"}
        out.append((data, look, kind))
    return out


def add_layers(viewer: Any, layers: list[LayerData]) -> list[Any]:
    """Add layers on top of all; the selection stays as it was."""
    chosen = viewer.layers.selection.active
    added = [getattr(viewer, f"add_{kind}")(data, **look) for data, look, kind in layers]
    if added:
        viewer.layers.selection.active = chosen
    return added
