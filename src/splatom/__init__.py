"""Splatom: interactive electron tomography, from a raw tilt series to fitted atoms.

Importing this package imports no torch, no napari and no Qt; names are loaded when first used.

Examples
--------
>>> import splatom
>>> series = splatom.read("needle.mrc")                                     # doctest: +SKIP
>>> series = splatom.run("prepare", "align", series)                        # doctest: +SKIP
>>> volume = splatom.run("reconstruct", "sirt", series, iterations=50)      # doctest: +SKIP
>>> splatom.write("needle_sirt.mrc", volume)                                # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Atoms": "splatom.data",
    "GaussianCloud": "splatom.data",
    "TiltSeries": "splatom.data",
    "Volume": "splatom.data",
    "ViewGeometry": "splatom.geometry",
    "read": "splatom.io",
    "write": "splatom.io",
    "run": "splatom.methods",
    "methods": "splatom.methods",
    "Recipe": "splatom.recipe",
}

__all__ = ["Atoms", "GaussianCloud", "Recipe", "TiltSeries", "ViewGeometry", "Volume", "__version__"]
__all__ += ["methods", "read", "run", "write"]


def __getattr__(name: str) -> Any:
    if name == "methods":
        return import_module("splatom.methods")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'splatom' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
