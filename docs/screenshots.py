"""Makes the pictures of the docs: ``make screenshots`` (or under xvfb-run).

With ``atoms``, ``denoise``, ``interpolate`` or ``wedges``, only those. The pictures of denoising show real images,
which lie beside the checkout.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# No parameter of the person who makes the pictures comes into them.
os.environ["SPLATOM_CONFIG"] = tempfile.mkdtemp(prefix="splatom-")

import napari
import numpy as np
from qtpy.QtWidgets import QDockWidget

from splatom.geometry import ViewGeometry
from splatom.plugin.demo import wait_for
from splatom.plugin.session import session_of

IMAGES = Path(__file__).parent / "images"
REAL = Path(__file__).parents[2] / "shared" / "data" / "stem_images"
SIZE = (1500, 950)


def settle(seconds: float = 1.0) -> None:
    until = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > until)


class Studio:
    """One napari window, one dock at a time."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer(title="Splatom")
        self.viewer.window.resize(*SIZE)
        self.session = session_of(self.viewer)
        self.session.warm_up()
        self.docks: dict[str, tuple[QDockWidget, Any]] = {}

    def dock(self, name: str, width: int = 400) -> Any:
        """Bring a dock to the front, opened if need be."""
        if name not in self.docks:
            self.docks[name] = self.viewer.window.add_plugin_dock_widget("splatom", name, tabify=bool(self.docks))
        dock, widget = self.docks[name]
        dock.show()
        dock.raise_()
        window = dock.window()
        from qtpy.QtCore import Qt

        window.resizeDocks([dock], [width], Qt.Orientation.Horizontal)
        settle(0.5)
        return widget

    def shoot(self, name: str) -> None:
        """Save a picture of the window."""
        settle()
        self.viewer.window.screenshot(str(IMAGES / f"{name}.png"), canvas_only=False, flash=False)
        print(f"docs/images/{name}.png", flush=True)

    def reconstruct(self, method: str, until: Callable[[Any], bool] = lambda run: not run.active, **params: Any) -> Any:
        """Run a method as a person would, until it is where it is wanted."""
        dock = self.dock("Reconstruct")
        panel = dock.panel
        panel.combo.setCurrentText(method)
        panel.form.set_value(type(panel.form.value())(**params))
        settle(1)
        wait_for(lambda: dock.estimate.text().startswith("Takes"), 30)
        panel.run_button.click()
        run = panel.run
        if not wait_for(lambda: until(run) or not run.active):
            raise SystemExit(f"{method} did not get there in time")
        return run


def atoms(studio: Studio) -> None:
    """Show a fit of atoms on its way, an atom that it found, and the structure."""
    viewer = studio.viewer
    viewer.layers.clear()
    viewer.open_sample("splatom", "atoms")
    dock = studio.dock("Atoms", 440)
    dock.panel.combo.setCurrentText("gaussian-atoms")
    dock.panel.form.set_value(type(dock.panel.form.value())(elements=("Au",)))
    dock.panel.run_button.click()
    run = dock.panel.run
    if not wait_for(lambda: run.live.points is not None or not run.active) or run.live.points is None:
        raise SystemExit("gaussian-atoms showed no atoms")
    dock.panel.pause_button.click()
    viewer.dims.ndisplay = 3
    studio.shoot("atoms_live")
    dock.panel.pause_button.click()
    wait_for(lambda: not run.active)
    viewer.dims.ndisplay = 2
    dock.pick.setChecked(True)
    dock.inspector.number.setValue(len(run.result) // 2)
    settle(3)
    studio.shoot("atoms_inspect")
    dock.tabs.setCurrentIndex(2)
    dock.plots.kind.setCurrentIndex(1)
    dock.colour.combo.setCurrentText("uncertainty")
    viewer.dims.ndisplay = 3
    settle(3)
    studio.shoot("atoms_plots")

    from splatom.io import write
    from splatom.simulate import simulate

    truth = Path(tempfile.mkdtemp(prefix="splatom-")) / "truth.xyz"
    write(truth, simulate("atoms", seed=1, dose=100.0)[1])  # the sample's own
    dock.tabs.setCurrentIndex(3)
    dock.colour.combo.setCurrentText("species")
    dock.compare.compare(str(truth))
    wait_for(lambda: dock.compare.match is not None, 30)
    dock.compare.mark.setChecked(True)
    settle(2)
    studio.shoot("atoms_compare")
    viewer.dims.ndisplay = 2


def denoise(studio: Studio) -> None:
    """Show what a network and a blur remove from a real image, its noise, and its columns."""
    viewer = studio.viewer
    if not REAL.is_dir():
        print(f"no pictures of denoising: {REAL} is not here")
        return
    viewer.layers.clear()
    viewer.open(str(REAL / "test_ADF_cropped.hdf5"), plugin="splatom")
    dock = studio.dock("Denoise", 500)
    page = dock.preview

    def shown() -> None:
        settle(0.5)
        wait_for(lambda: page.triptych.shown is not None and not page.asking.busy, 300)

    page.extent.setCurrentText("whole image")
    shown()
    studio.shoot("denoise_preview")
    dock.panel.combo.setCurrentText("gaussian")
    dock.panel.form.set_value(type(dock.panel.form.value())(sigma=6.0))
    shown()
    studio.shoot("denoise_strong")
    dock.panel.combo.setCurrentText("sfin")
    dock.panel.run_button.click()
    wait_for(lambda: not dock.panel.run.active)
    dock.tabs.setCurrentIndex(1)
    dock.noise.button.click()
    wait_for(lambda: bool(dock.noise.warning.text()), 300)
    studio.shoot("denoise_noise")
    dock.tabs.setCurrentIndex(2)
    dock.columns.button.click()
    wait_for(lambda: dock.columns.layer is not None, 300)
    studio.shoot("denoise_columns")
    dock.tabs.setCurrentIndex(0)


def interpolate(studio: Studio) -> None:
    """Show the gaps of a sparse series, a predicted tilt, the check, and the filled series."""
    from splatom.simulate import sample_nanoparticle

    viewer, session = studio.viewer, studio.session
    viewer.layers.clear()
    dense = sample_nanoparticle()
    kept = np.delete(np.arange(0, len(dense), 2), [7, 19])  # every second tilt, and two more are missing
    session.add(dense[kept], "sparse nanoparticle")
    viewer.dims.set_point(0, len(kept) // 2)
    dock = studio.dock("Interpolate", 480)
    dock.resize(480, 900)

    def shown() -> None:
        settle(0.5)
        page = dock.preview
        wait_for(lambda: page.pictures.shown is not None and not (page.asking.busy or page._soon.isActive()), 300)
        settle(0.5)

    shown()
    studio.shoot("interpolate_preview")
    dock.tabs.setCurrentIndex(1)
    dock.check.every.setChecked(True)
    dock.check.button.click()
    wait_for(lambda: dock.check.found is not None, 600)
    studio.shoot("interpolate_check")
    dock.panel.run_button.click()
    wait_for(lambda: not dock.panel.run.active, 600)
    settle(2)
    studio.shoot("interpolate_filled")
    reconstruct = studio.dock("Reconstruct")
    reconstruct.panel.combo.setCurrentText("tv")
    settle(2)
    studio.shoot("interpolate_tv")


def wedges(studio: Studio) -> None:
    """Show TEMDiff on its way, how sure it is, what the prior decided, and its warning of a prior that does not fit."""
    from splatom.simulate import nanoparticle_on_support, tilt_series

    viewer, session = studio.viewer, studio.session
    viewer.layers.clear()
    truth = nanoparticle_on_support((64, 64, 64), 0.5, seed=3)
    session.add(tilt_series(truth, np.arange(-20, 21, 2.0), dose=400, seed=5), "narrow nanoparticle")
    dock = studio.dock("Reconstruct", 440)
    run = studio.reconstruct("temdiff", lambda r: r.snapshot is not None and r.snapshot.step >= 14)
    dock.panel.pause_button.click()
    studio.shoot("wedges_running")
    dock.panel.pause_button.click()
    wait_for(lambda: not run.active, 1800)
    session.series_layer.visible = False
    viewer.dims.order = (0, 2, 1, 3)  # x and z: the wedge that was not measured lies in this plane
    for name in ("spread", "decided by the prior"):
        dock.overlays.ticks[name].setChecked(True)
        studio.shoot(f"wedges_{name.split()[0]}")
        dock.overlays.ticks[name].setChecked(False)
    studio.reconstruct("temdiff", prior="biological", samples=1, steps=10)
    if dock.panel.warning.isHidden():
        print("TEMDiff had nothing to warn of: look for another series")
    studio.shoot("wedges_warning")
    viewer.dims.order = (0, 1, 2, 3)


def main(only: str = "") -> int:
    IMAGES.mkdir(exist_ok=True)
    studio = Studio()
    viewer, session = studio.viewer, studio.session
    if only:
        {"atoms": atoms, "denoise": denoise, "interpolate": interpolate, "wedges": wedges}[only](studio)
        session.close()
        viewer.close()
        return 0
    viewer.open_sample("splatom", "nanoparticle")
    tilts = studio.dock("Tilt series")
    for name in ("Prepare", "Reconstruct", "Monitor"):
        studio.dock(name)

    # The series, with a box on a tilted view.
    studio.dock("Tilt series")
    viewer.dims.set_point(0, 36)
    tilts.box.width_.setValue(52)
    tilts.box.thickness.setValue(30)
    tilts.box.tick.setChecked(True)
    settle()
    studio.shoot("tilt_series")
    tilts.box.tick.setChecked(False)

    # A reconstruction on its way, and how it is watched.
    run = studio.reconstruct("sirt", lambda r: r.snapshot is not None and r.snapshot.step >= 25, iterations=60,
                             hold_out=0.1)  # fmt: skip
    studio.shoot("reconstruct")
    wait_for(lambda: not run.active)
    studio.dock("Monitor", 460)
    settle(3)
    studio.shoot("monitor")

    # Its planes.
    studio.dock("Views", 520)
    settle(3)
    studio.shoot("views")

    # Two methods side by side.
    studio.reconstruct("wbp")
    studio.dock("Compare", 520)
    settle(3)
    studio.shoot("compare")

    # The volume as a solid.
    sirt = next(x for x in viewer.layers if x.name.startswith("sirt"))
    for layer in viewer.layers:
        layer.visible = layer is sirt
    viewer.layers.selection.active = sirt
    studio.dock("Reconstruct").restore()
    viewer.dims.ndisplay = 3
    sirt.rendering = "iso"
    sirt.iso_threshold = float(np.percentile(sirt.data, 99))
    sirt.colormap = "bop orange"
    viewer.scene.camera.angles = (10, -35, 115)
    middle = np.argwhere(sirt.data > sirt.iso_threshold).mean(axis=0)
    viewer.scene.camera.center = tuple(sirt.data_to_world(middle))[-3:]
    viewer.scene.camera.zoom *= 1.2
    settle(2)
    studio.shoot("main")
    viewer.dims.ndisplay = 2

    atoms(studio)
    denoise(studio)
    interpolate(studio)
    wedges(studio)

    # Alignment: the same specimen, with the shifts that a stage would leave.
    viewer.layers.clear()
    studio.docks["Reconstruct"][0].hide()
    from splatom.simulate import sample_nanoparticle

    still = sample_nanoparticle()
    rng = np.random.default_rng(4)
    jitter = np.round(np.cumsum(rng.normal(0, 1.2, (len(still), 2)), axis=0))
    jitter -= np.round(jitter.mean(axis=0))
    moved = [np.roll(p, (int(dy), int(dx)), (0, 1)) for p, (dx, dy) in zip(still.projections, jitter, strict=True)]
    raw = still.with_(projections=np.stack(moved), geometry=ViewGeometry.single_axis(still.angles))
    session.add(raw, "raw nanoparticle")
    prepare = studio.dock("Prepare", 460)
    prepare.panel.combo.setCurrentText("align")
    prepare.panel.run_button.click()
    wait_for(lambda: prepare.panel.run is None or not prepare.panel.run.active)
    settle(3)
    studio.shoot("prepare")
    session.close()
    viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
