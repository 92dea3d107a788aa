"""What is around the network: turns, scale, totals, strips, weights. Not how good it is.

The networks here are drawn at random, or add nothing: what holds for any weights is tested.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from _balls import balls, rms

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.jobs import Job, JobError
from splatom.methods import execute, get, run
from splatom.weights import Card, build, save

SPARSE = np.arange(-60, 61, 12.0)
BETWEEN = tuple((SPARSE[:-1] + 6).tolist())
QUICK = {"share": 1.0, "smoothing": 1.5, "passes": 40}
ARGUMENTS = {"widths": [8, 12], "fold": 2}


def saved(path: Path, *, idle: bool, network: str = "ours") -> Path:
    from splatom.nets import TiltRefiner

    torch.manual_seed(0)
    net = build("tsgnet", "published") if network == "published" else TiltRefiner(**ARGUMENTS)
    if network == "ours" and not idle:
        torch.nn.init.normal_(net.tail.weight, std=0.1)
    arguments = {"residuals": 1, "gap": True} if network == "published" else ARGUMENTS
    save(path, net, Card("tsgnet", "small", arguments, trained={"gap_degree": (1.0, 12.0)}))
    return path


@pytest.fixture(scope="module")
def idle(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("w") / "idle.safetensors", idle=True)


@pytest.fixture(scope="module")
def random(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("w") / "random.safetensors", idle=False)


def predicted(series: TiltSeries, weights: Path, **params: object) -> np.ndarray:
    words = {"angles": BETWEEN, "weights": weights, **QUICK, **params}
    out = run("interpolate", "tsgnet", series, device="cpu", **words)
    return out.projections[out.synthetic]


def test_an_idle_network_leaves_what_the_reconstruction_says(idle: Path) -> None:
    truth = balls(BETWEEN).projections
    linear = run("interpolate", "linear", balls(SPARSE), angles=BETWEEN)
    assert rms(predicted(balls(SPARSE), idle), truth) < 0.6 * rms(linear.projections[linear.synthetic], truth)


def test_measured_tilts_stay_bit_for_bit_and_totals_are_linears(random: Path) -> None:
    series = balls(SPARSE, dose=100)
    out = run("interpolate", "tsgnet", series, angles=BETWEEN, weights=random, **QUICK)
    assert out.projections[~out.synthetic].tobytes() == series.projections.tobytes()
    linear = run("interpolate", "linear", series, angles=BETWEEN)
    totals = [s.projections[s.synthetic].sum(axis=(1, 2), dtype=np.float64) for s in (out, linear)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)
    assert not np.allclose(out.projections, linear.projections)


def test_one_scale_for_the_series_whatever_its_unit(random: Path) -> None:
    out = predicted(balls(SPARSE), random)
    counts = balls(SPARSE)
    counts = counts.with_(projections=3000 + 70 * counts.projections)
    assert rms((predicted(counts, random) - 3000) / 70, out) < 0.02 * out.std()


def test_the_axis_is_turned_upright_for_the_network(random: Path) -> None:
    """A series whose axis lies along the columns is the same series, its images turned by a quarter."""
    upright = balls(SPARSE)
    lying = upright.with_(
        projections=np.rot90(upright.projections, -1, (1, 2)), geometry=upright.geometry.turned(90)
    )
    assert lying.geometry.axis_degrees == pytest.approx(90)
    out = run("interpolate", "tsgnet", lying, weights=random, **QUICK)
    new = np.rot90(out.projections[out.synthetic], 1, (1, 2))
    first = predicted(upright, random)
    assert rms(new, first) < 0.01 * first.std()


def test_large_images_are_seen_in_strips_that_leave_no_seam(random: Path, monkeypatch) -> None:
    from splatom.methods.interpolate import _network
    from splatom.weights import load

    net, _ = load("tsgnet", path=random)
    rng = np.random.default_rng(0)
    images = np.repeat(rng.normal(size=(5, 1, 40)), 300, axis=1).astype(np.float32)
    whole = _network._function(net, "cpu")(images[:2], images[2:], 0.5, 4.0)
    monkeypatch.setattr(_network, "_STRIP", 4000)
    parts = _network._function(net, "cpu")(images[:2], images[2:], 0.5, 4.0)
    assert parts.shape == whole.shape
    assert rms(parts[:, 20:-20], whole[:, 20:-20]) < 0.02 * whole.std()


def test_a_network_that_makes_nothing_better_gives_way_to_linear(tmp_path: Path) -> None:
    bad = saved(tmp_path / "bad.safetensors", idle=False, network="published")
    series = balls(SPARSE)
    job = Job(get("interpolate", "tsgnet").params(angles=BETWEEN, weights=bad, passes=40))
    out = execute("interpolate", "tsgnet", series, job)
    truth = balls(BETWEEN).projections
    linear = run("interpolate", "linear", series, angles=BETWEEN)
    assert job.notes["share"] < 0.6
    assert rms(out.projections[out.synthetic], truth) < 1.05 * rms(linear.projections[linear.synthetic], truth)


def test_gaps_beyond_what_it_was_trained_on_are_told(idle: Path) -> None:
    for step, told in ((20.0, False), (60.0, True)):
        angles = np.arange(-60, 61, step)
        job = Job(get("interpolate", "tsgnet").params(weights=idle, **QUICK))
        execute("interpolate", "tsgnet", balls(angles), job)
        assert ("wide_gap" in job.notes) is told


def test_weights_of_another_network_are_refused_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save(path, build("scgn", "small"), Card("scgn", "small", {"width": 32}))
    with pytest.raises(JobError, match="not of tsgnet"):
        predicted(balls(SPARSE), path)
    with pytest.raises(JobError, match="no such file"):
        predicted(balls(SPARSE), tmp_path / "missing.safetensors")


@pytest.mark.parametrize("shape", [(9, 14), (33, 17)])
def test_odd_sizes_come_out_whole(idle: Path, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, *shape)).astype(np.float32)
    out = predicted(TiltSeries(images, ViewGeometry.single_axis([0.0, 8.0, 16.0])), idle, angles=(4.0,))
    assert out.shape == (1, *shape)
    assert np.isfinite(out).all()
