"""The demo does the main job, and leaves its picture and its volume."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.gui
@pytest.mark.slow
def test_the_demo_leaves_a_screenshot_and_a_volume(tmp_path: Path) -> None:
    code = "import sys, pathlib, splatom.plugin.demo as d; sys.exit(d.run_demo(pathlib.Path(sys.argv[1]), False))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    import mrcfile
    from skimage.io import imread

    volume = mrcfile.read(tmp_path / "volume.mrc")
    assert volume.shape == (128, 128, 128)
    assert np.isfinite(volume).all()
    # The particles stand out from the empty corners.
    assert volume.max() > 20 * volume[:, :8, :8].std()
    picture = imread(tmp_path / "screenshot.png")
    assert picture.shape[0] > 600
    assert picture[..., :3].std() > 10
