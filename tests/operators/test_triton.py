"""The Triton kernels agree with the reference: on a GPU where there is one, else in Triton's interpreter on the CPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

SCRIPT = """
import numpy as np, torch
from splatom.geometry import ViewGeometry
from splatom.operators import VoxelProjector
device = "cuda" if torch.cuda.is_available() else "cpu"
rng = np.random.default_rng(0)
cases = {
    "single": ViewGeometry.single_axis([-60.0, -10, 0, 50, 90], shifts=rng.normal(0, 1, (5, 2))),
    "euler": ViewGeometry.from_euler(rng.uniform(-80, 80, (3, 3))),
}
for name, geometry in cases.items():
    fast, plain = (VoxelProjector(geometry, (6, 5, 8), (5, 7), device, b) for b in ("triton", "reference"))
    x = torch.from_numpy(rng.random(fast.domain_shape).astype(np.float32)).to(device)
    y = torch.from_numpy(rng.random(fast.range_shape).astype(np.float32)).to(device)
    torch.testing.assert_close(fast.forward(x), plain.forward(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fast.adjoint(y), plain.adjoint(y), rtol=1e-4, atol=1e-4)
    left, right = (fast.forward(x).double() * y).sum(), (x * fast.adjoint(y).double()).sum()
    assert abs(left - right) <= 1e-5 * abs(left), (name, left, right)
print("agree on", device)
"""


def test_the_kernels_agree_with_the_reference(tmp_path: Path) -> None:
    import torch

    # The interpreter has to be chosen before Triton is loaded, and must not stay on for other tests.
    env = dict(os.environ) if torch.cuda.is_available() else {**os.environ, "TRITON_INTERPRET": "1"}
    script = tmp_path / "agree.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "agree on" in done.stdout
