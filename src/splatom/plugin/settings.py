"""What the user set once for all runs: napari's preferences (the manifest's configurations)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["Preferences", "config_folder", "preferences"]


@dataclass(frozen=True)
class Preferences:
    """Settings of the plugin.

    Parameters
    ----------
    device : {'auto', 'cpu', 'cuda'}
    refresh_rate : float
        Updates of the live layers per second.
    max_points : int
        Most points shown while a run streams.
    output_folder : str
        Where files are saved by default; empty: the folder of the series.
    executor : {'process', 'thread'}
        Where jobs run; the environment variable SPLATOM_EXECUTOR wins.
    """

    device: str = "auto"
    refresh_rate: float = 5.0
    max_points: int = 20_000
    output_folder: str = ""
    executor: str = "process"


def preferences() -> Preferences:
    """Return the settings as they are now; defaults where napari keeps none."""
    default = Preferences()
    try:
        from napari.settings import get_plugin_settings

        stored = get_plugin_settings("splatom")
        run, shown = stored.run, stored.display
        found = Preferences(
            str(run.device), float(shown.refresh_rate), int(shown.max_points), str(run.output_folder), str(run.executor)
        )
    except (ImportError, AttributeError, KeyError, ValueError):
        found = default
    forced = os.environ.get("SPLATOM_EXECUTOR", "")
    if forced in ("process", "thread"):
        found = replace(found, executor=forced)
    return found


def config_folder() -> Path:
    """Return the folder where parameters are remembered (SPLATOM_CONFIG names another)."""
    named = os.environ.get("SPLATOM_CONFIG")
    if named:
        return Path(named)
    from qtpy.QtCore import QStandardPaths

    return Path(QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericConfigLocation)) / "splatom"
