"""How long napari's event loop is held while SIRT runs: one warm process against a thread, in one run.

A timer of 5 ms ticks in the window; the gaps between its ticks are what a user feels. The volume's layer is updated as
always, but the canvas is hidden, so that software OpenGL (0.2 to 1 s a frame without a graphics card) does not count.
Needs a display, or ``xvfb-run``.

    python benchmarks/event_loop.py
"""

from __future__ import annotations

import os
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np


def gaps_ms(executor: str) -> np.ndarray:
    """Return the gaps between ticks in ms during 60 passes over the sample nanoparticle."""
    os.environ["SPLATOM_EXECUTOR"] = executor
    import napari
    from qtpy.QtCore import QTimer

    from splatom.methods import get
    from splatom.plugin.demo import wait_for
    from splatom.plugin.session import session_of
    from splatom.simulate import sample_nanoparticle

    viewer = napari.Viewer(show=False)
    session = session_of(viewer)
    session.add(sample_nanoparticle(), "sample")
    run = session.start("reconstruct", "sirt", get("reconstruct", "sirt").params(iterations=60), device="cpu")
    wait_for(lambda: run.snapshot is not None)
    ticks: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(5)
    wait_for(lambda: not run.active)
    timer.stop()
    session.close()
    viewer.close()
    return np.diff(ticks) * 1000


def main() -> int:
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        print("left out: no display; run it under xvfb-run")
        return 0
    for executor in ("process", "thread"):
        gaps = gaps_ms(executor)
        median, high = np.percentile(gaps, [50, 99])
        print(f"{executor:8} median {median:.1f} ms, 99th percentile {high:.1f} ms, worst {gaps.max():.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
