"""``splatom demo``: the main job on a sample, in a window."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["arrange", "run_demo", "wait_for"]

_ITERATIONS = 60
_PATIENCE = 600.0  # seconds


def arrange(viewer: Any) -> dict[str, Any]:
    """Put every dock of Splatom in place, one behind the other; returns them by name."""
    from npe2 import PluginManager

    manifest = PluginManager.instance().get_manifest("splatom")
    names = [w.display_name for w in manifest.contributions.widgets or ()]
    docks, out = [], {}
    for name in names:
        dock, widget = viewer.window.add_plugin_dock_widget("splatom", name, tabify=bool(docks))
        docks.append(dock)
        out[name] = widget
    if "Reconstruct" in names:
        docks[names.index("Reconstruct")].raise_()
    return out


def wait_for(done: Callable[[], bool], seconds: float = _PATIENCE) -> bool:
    """Serve the window until something is done; False if the time ran out."""
    from qtpy.QtWidgets import QApplication

    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            return False
        QApplication.processEvents()
        time.sleep(0.01)
    return True


def run_demo(output: Path | None, show: bool) -> int:
    """Open napari on a sample tilt series with the docks in place and a reconstruction streaming.

    Parameters
    ----------
    output : Path, optional
        Folder for ``screenshot.png`` and ``volume.mrc``; nothing is written without one.
    show : bool
        Whether the window stays open at the end.

    Returns
    -------
    int
        Exit status: 0 if the reconstruction came to its end.
    """
    import napari

    from splatom.io import write
    from splatom.plugin.session import session_of

    viewer = napari.Viewer(title="Splatom")
    viewer.window.resize(1500, 950)
    session = session_of(viewer)
    session.warm_up()
    viewer.open_sample("splatom", "nanoparticle")
    docks = arrange(viewer)
    panel = docks["Reconstruct"].panel
    panel.set_params("sirt", type(panel.form.value())(iterations=_ITERATIONS))
    panel.run_button.click()
    run = panel.run
    if show and output is None:
        napari.run()
        return 0
    ended = wait_for(lambda: run is None or not run.active)
    fine = ended and run is not None and run.outcome.status in ("done", "stopped")
    if fine and output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write(output / "volume.mrc", run.result)
        settle = time.monotonic() + 1.0  # the last picture is on its way to the screen
        wait_for(lambda: time.monotonic() > settle)
        viewer.window.screenshot(str(output / "screenshot.png"), canvas_only=False, flash=False)
    if show:
        napari.run()
    else:
        session.close()
        viewer.close()
    return 0 if fine else 1
