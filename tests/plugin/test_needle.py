"""The main job in the window on real data: a raw file opened, turned, aligned, reconstructed and saved.

With SPLATOM_PICTURES set to a folder, the window at the end is kept there as needle.png (the docs' picture).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatom.io import read
from splatom.plugin.session import session_of

pytestmark = [pytest.mark.gui, pytest.mark.real, pytest.mark.slow]


def test_a_raw_needle_becomes_a_volume_by_clicks(
    window: Any, qtbot: Any, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLATOM_EXECUTOR", "process")
    window.window.resize(1500, 950)
    window.open(str(shared_data / "nist_needle" / "HAADF.mrc"), plugin="splatom")
    session = session_of(window)
    assert len(session.series) == 77
    _, prepare = window.window.add_plugin_dock_widget("splatom", "Prepare")
    dock, reconstruct = window.window.add_plugin_dock_widget("splatom", "Reconstruct", tabify=True)

    def click(panel: Any, method: str, **fields: Any) -> Any:
        from splatom.methods import get

        panel.set_params(method, get(panel.group, method).params(**fields))
        qtbot.waitUntil(panel.run_button.isEnabled, timeout=60_000)
        panel.run_button.click()
        run = panel.run
        qtbot.waitUntil(lambda: not run.active, timeout=300_000)
        assert run.outcome.status == "done", run.outcome.error
        return run

    click(prepare.panel, "bin", factor=4)
    click(prepare.panel, "rotate")
    click(prepare.panel, "align")
    click(prepare.panel, "tilt-axis")
    dock.raise_()
    run = click(reconstruct.panel, "sirt", iterations=60, momentum=True, hold_out=0.1)
    assert run.outcome.figures["r_free"] < 0.08
    assert run.outcome.notes["background_subtracted"] < -30_000
    layer = window.layers.selection.active or window.layers[-1]
    assert layer.data.shape == (64, 64, 64)
    target = tmp_path / "needle.mrc"
    window.layers.selection = {layer}
    assert layer.save(str(target), plugin="splatom")
    assert read(target, kind="volume").voxel_size == pytest.approx(4 * 3.36, rel=1e-3)
    steps = [s.method for s in run.result.provenance.steps]
    assert steps == ["bin", "rotate", "align", "tilt-axis", "sirt"]
    pictures = os.environ.get("SPLATOM_PICTURES")
    if pictures:
        for other in window.layers:
            other.visible = other.name == layer.name
        window.dims.ndisplay = 3
        layer.rendering = "attenuated_mip"
        layer.contrast_limits = (0, float(np.quantile(layer.data, 0.999)))
        window.reset_view()
        qtbot.wait(1500)
        window.window.screenshot(str(Path(pictures) / "needle.png"), canvas_only=False, flash=False)
