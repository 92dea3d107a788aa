"""The Gaussian projector against plain PyTorch: forward and backward of 10,000 Gaussians in 60 views of 128 × 128.

Both sides draw the same windows (±4.5 σ) and return the same gradients (centres, widths, masses); they take turns in
one run, and the best turn of each counts. The plain version is our reference backend: separable windows, scatter_add
and an explicit backward pass, in chunks that stay in the cache. The ratio of processor times is printed as well: it is
the one to trust while other work runs on the machine. Where there is a CUDA device, the same is run there: Triton
against the reference, and against gsplat if that is installed (it composites, so that only its time compares).

    python benchmarks/gaussians_speed.py [--turns 5] [--gaussians 10000]
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from splatom.geometry import ViewGeometry
from splatom.operators.gaussian import GaussianProjector

SHAPE, VIEWS = (128, 128), 60


def specimen(n: int, width: float, device: str) -> tuple[torch.Tensor, ...]:
    """Centres, one width and masses in a cube that fits into the field, in pixels, and images to pull back."""
    rng = torch.Generator().manual_seed(0)
    centres = (torch.rand(n, 3, generator=rng) - 0.5) * 0.7 * SHAPE[0]
    images = torch.randn(VIEWS, *SHAPE, generator=rng)
    return tuple(t.to(device) for t in (centres, torch.full((n,), width), torch.rand(n, generator=rng), images))


class Side:
    """One of those that take turns."""

    def __init__(self, backend: str, width: float, n: int, device: str = "cpu", fused: bool = False) -> None:
        geometry = ViewGeometry.single_axis(np.linspace(-60.0, 60.0, VIEWS))
        self.projector = GaussianProjector(geometry, SHAPE, 1.0, backend=backend, device=device)
        *inputs, self.images = specimen(n, width, device)
        self.inputs = [t.requires_grad_() for t in inputs]
        self.device, self.fused = device, fused
        self.wall = self.cpu = float("inf")

    def turn(self) -> tuple[torch.Tensor, ...]:
        """Time one forward and backward pass; return the gradients."""
        wait = torch.cuda.synchronize if self.device == "cuda" else lambda: None
        wait()
        wall, cpu = time.perf_counter(), time.process_time()
        if self.fused:
            gradients = torch.autograd.grad(self.projector.loss(*self.inputs, self.images).sum(), self.inputs)
        else:
            drawn = self.projector(*self.inputs)
            gradients = torch.autograd.grad(drawn, self.inputs, drawn.detach() - self.images)
        wait()
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.cpu = min(self.cpu, time.process_time() - cpu)
        return gradients


def compare(sides: dict[str, Side], turns: int, n: int) -> dict[str, float]:
    """Let the sides take turns; return seconds, G-views/s and ratios to the first."""
    gradients = {name: side.turn() for name, side in sides.items()}  # compiles
    for side in sides.values():
        side.wall = side.cpu = float("inf")
    for _ in range(turns):
        for side in sides.values():
            side.turn()
    first, *others = sides
    found: dict[str, float] = {}
    for name, side in sides.items():
        found[f"seconds_{name}"] = round(side.wall, 4)
        found[f"million_gaussian_views_per_s_{name}"] = round(n * VIEWS / side.wall / 1e6, 2)
    for name in others:
        found[f"ratio_{name}"] = round(sides[first].wall / sides[name].wall, 1)
        if sides[name].device == "cpu":
            found[f"ratio_processor_time_{name}"] = round(sides[first].cpu / sides[name].cpu, 1)
        worst = max(
            float((a - b).abs().max() / a.abs().max()) for a, b in zip(gradients[first], gradients[name], strict=True)
        )
        found[f"worst_difference_{name}"] = float(f"{worst:.1e}")
    return found


def bandwidth_share(seconds: float, n: int) -> tuple[float, float]:
    """Return GB/s of a copy on the device, and the share of it that the least traffic of a pass makes up.

    Least traffic: columns and rows read twice, four gathered values written a Gaussian and view; images written, read
    and compared once. Atomic additions and windows are taken to stay in the cache.
    """
    a = torch.empty(1 << 28, device="cuda")
    b = torch.empty_like(a)
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        b.copy_(a)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    rate = 2 * a.nbytes / best
    least = 4 * VIEWS * (8 * n + 4 * SHAPE[0] * SHAPE[1])
    return rate / 1e9, least / rate / seconds


def gsplat_seconds(n: int, width: float, turns: int) -> float | None:
    """Return the seconds of gsplat's forward and backward passes, None if it is not there or does not compile."""
    try:
        from gsplat import rasterization
    except ImportError:
        return None
    centres, spread, mass, images = specimen(n, width, "cuda")
    geometry = ViewGeometry.single_axis(np.linspace(-60.0, 60.0, VIEWS))
    view = torch.eye(4, device="cuda").repeat(VIEWS, 1, 1)
    view[:, :3, :3] = torch.as_tensor(np.array(geometry.rotations), dtype=torch.float32)
    view[:, 2, 3] = 1000.0
    lens = torch.tensor([[1.0, 0, SHAPE[1] / 2], [0, 1, SHAPE[0] / 2], [0, 0, 1]], device="cuda").repeat(VIEWS, 1, 1)
    xyz = centres.flip(1).contiguous().requires_grad_()
    scales = spread[:, None].repeat(1, 3).requires_grad_()
    faint = (0.01 * mass).requires_grad_()
    quaternions = torch.tensor([[1.0, 0, 0, 0]], device="cuda").repeat(n, 1)
    colours, best = torch.ones(n, 1, device="cuda"), float("inf")
    for _ in range(turns + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        try:
            drawn = rasterization(
                xyz, quaternions, scales, faint, colours, view, lens, SHAPE[1], SHAPE[0], camera_model="ortho"
            )[0]
        except (RuntimeError, OSError, ImportError) as fault:
            print(f"gsplat does not run here: {fault}")
            return None
        (drawn[..., 0] * images).sum().backward()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--gaussians", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    n = args.gaussians
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    print(f"{n} Gaussians, {VIEWS} views of {SHAPE[0]} × {SHAPE[1]}, {cores} cores; times are those of the best turn")
    for width in (1.2, 3.0, 6.0):
        sides = {
            "plain": Side("reference", width, n),
            "kernels": Side("cpu", width, n),
            "fused": Side("cpu", width, n, fused=True),
            "splines": Side("spline", width, n),
        }
        _report(f"CPU, width {width} pixels", compare(sides, args.turns, n), args.json)
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing measured on one")
        return
    for width, many in ((1.2, n), (1.2, 10 * n), (3.0, n)):
        found = compare({b: Side(b, width, many, "cuda") for b in ("reference", "triton")}, args.turns, many)
        rate, share = bandwidth_share(found["seconds_triton"], many)
        found |= {"gigabytes_per_s": round(rate), "share_of_bandwidth_limit": round(share, 3)}
        theirs = gsplat_seconds(many, width, args.turns)
        if theirs is not None:
            found |= {"seconds_gsplat": round(theirs, 4), "ratio_to_gsplat": round(theirs / found["seconds_triton"], 1)}
        _report(f"{torch.cuda.get_device_name()}, {many} Gaussians, width {width} pixels", found, args.json)


def _report(title: str, found: dict[str, float], as_json: bool) -> None:
    print(json.dumps({"case": title, **found}) if as_json else f"{title}\n" + "\n".join(
        f"  {k:40} {v}" for k, v in found.items()
    ))  # fmt: skip


if __name__ == "__main__":
    main()
