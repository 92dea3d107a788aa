"""Gaussians by Triton agree with the reference: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

SCRIPT = """
import torch
from splatom.geometry import ViewGeometry
from splatom.operators.gaussian import GaussianProjector
device = "cuda" if torch.cuda.is_available() else "cpu"
rng = torch.Generator().manual_seed(0)
n, pixel, shape = 9, 0.05, (11, 14)
geometry = ViewGeometry.from_euler([[0.0, 0, 0], [10, 50, -20]], shifts=[[0, 0], [1.5, -2]])
plain = GaussianProjector(geometry, shape, pixel, backend="reference")
fast = GaussianProjector(geometry, shape, pixel, backend="triton", device=device)
for isotropic in (True, False):
    centres = (torch.rand(n, 3, generator=rng) - 0.5) * 0.8
    centres[0] = 100.0  # far off the field
    spread = pixel * (0.6 + 2 * torch.rand(n, generator=rng))  # windows of 8, 16 and 32 pixels
    if not isotropic:
        a = pixel * torch.randn(n, 3, 3, generator=rng)
        spread = a @ a.mT + pixel**2 * torch.eye(3)
    mass, shifts = torch.rand(n, generator=rng), torch.randn(2, 2, generator=rng)
    images = torch.randn(2, *shape, generator=rng)
    found = []
    for p, where, kind in ((plain, "cpu", torch.float64), (fast, device, torch.float32)):
        c, s, m, sh = (t.to(where, kind).requires_grad_() for t in (centres, spread, mass, shifts))
        drawn = p(c, s, m, shifts=sh)
        gradients = torch.autograd.grad((drawn * images.to(where, kind)).sum(), (c, s, m, sh))
        with torch.no_grad():
            moved = p.tangent(c, s, m, 0.1 * c.flip(0), 0.1 * s.flip(0), m.flip(0), d_shifts=sh)
            gathered = p(c, s, m)
        found.append([drawn, *gradients, moved, gathered])
    for k, (exact, got) in enumerate(zip(*found)):
        error = float((got.cpu().double() - exact).abs().max() / exact.abs().max())
        assert error < 2e-5, (isotropic, k, error)
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
