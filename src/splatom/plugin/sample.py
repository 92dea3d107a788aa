"""Sample data, simulated when first asked for."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["atoms", "nanoparticle"]


@cache
def _series(which: str) -> Any:
    from splatom import simulate

    return getattr(simulate, which)()


def nanoparticle() -> list[tuple[Any, ...]]:
    """Return a nanoparticle on a support film: a tilt series with realistic noise and a missing wedge."""
    from splatom.plugin.layers import to_layer

    return [to_layer(_series("sample_nanoparticle"), "nanoparticle")]


def atoms() -> list[tuple[Any, ...]]:
    """Return a particle at atomic resolution: a tilt series in which single columns and atoms are seen."""
    from splatom.plugin.layers import to_layer

    return [to_layer(_series("sample_atoms"), "atomic particle")]
