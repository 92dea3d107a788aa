"""Windows under test: jobs in threads, and no parameter remembered from or for the person's own sessions."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry


@pytest.fixture(scope="module", autouse=True)
def _old_objects_out_of_the_way() -> Iterator[None]:
    """Keep what was there before from being searched: napari collects garbage several times after each test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLATOM_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("SPLATOM_EXECUTOR", "thread")


@pytest.fixture
def ball() -> TiltSeries:
    """A ball off the axis, 16 tilts of 32 x 32, projected analytically."""
    angles = np.linspace(-60, 60, 16)
    geometry = ViewGeometry.single_axis(angles)
    centre = geometry.project(np.array([[2.0, -1.0, 3.0]]), 0.5, (32, 32))[:, 0]
    y, x = np.mgrid[:32, :32]
    far = (x - centre[:, 0, None, None]) ** 2 + (y - centre[:, 1, None, None]) ** 2
    images = 2 * 0.5 * np.sqrt(np.clip(64.0 - far, 0, None))
    return TiltSeries(images.astype(np.float32), geometry, pixel_size=0.5)


@pytest.fixture
def window(make_napari_viewer_proxy: Callable[..., Any]) -> Iterator[Any]:
    """A viewer whose jobs are stopped at the end of the test."""
    from splatom.plugin.session import session_of

    viewer = make_napari_viewer_proxy()
    yield viewer
    session_of(viewer).close()
