"""Training TSGNet: what it learns from is a rotation, and it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers

from splatom.cli import main
from splatom.nets import TiltRefiner, Tsgnet
from splatom.training import interpolators, tilts
from splatom.training.interpolators import interpolation_loss, linear, published_loss, stream
from splatom.training.loop import Budget, train
from splatom.weights import load

FIELD = (24, 48)


def _series(seed: int, **wanted: object) -> tilts.Sparse:
    return tilts.series(FIELD, np.random.default_rng(seed), **wanted)  # type: ignore[arg-type]


def test_a_seed_gives_the_same_series_and_another_seed_others() -> None:
    first, again, other = _series(3), _series(3), _series(4)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.images.shape != other.images.shape or not np.array_equal(first.images, other.images)


def test_a_tilt_of_a_faultless_series_is_the_truth_at_its_angle() -> None:
    given = _series(5, gap=8.0, faultless=True)
    for angle, image in zip(given.angles, given.images, strict=True):
        np.testing.assert_allclose(given.truth(float(angle)), image, atol=1e-5)
    np.testing.assert_allclose(np.diff(given.angles).mean(), 16.0, rtol=0.1)


def test_what_is_seen_from_behind_is_the_mirror_image() -> None:
    """Rotation about the vertical axis by half a turn: columns change places, rows stay."""
    for seed in range(6):
        given = _series(seed, faultless=True)
        front, back = given.truth(10.0), given.truth(190.0)
        np.testing.assert_allclose(front, back[:, ::-1], atol=2e-2 * front.max())


def test_an_isolated_cluster_has_the_same_mass_in_every_row_at_every_tilt() -> None:
    """Rows are slices normal to the axis: rotation moves matter within them and never between."""
    rng = np.random.default_rng(2)
    shape = (FIELD[0] + 32, FIELD[1] + 32)
    view = tilts._atomic(shape, FIELD, rng)
    rows = np.stack([view(a).sum(axis=1) for a in (-60.0, 0.0, 25.0)])
    np.testing.assert_allclose(rows, np.broadcast_to(rows[1], rows.shape), atol=1e-3 * rows.max())


def test_the_elements_of_the_held_out_clusters_are_never_seen() -> None:
    assert not {"Yb", "Ir", "Xe", "Al"} & set(tilts.ELEMENTS) and all(e in atomic_numbers for e in tilts.ELEMENTS)
    kinds = {tilts.cluster(np.random.default_rng(i))[1] for i in range(20)}
    assert kinds == {"icosahedron", "decahedron", "octahedron"}


def test_reprojection_beats_linear_where_gaps_are_wide() -> None:
    """On clean series, whatever they show; the reconstruction knows what a pair does not."""
    better = []
    for seed in range(6):
        rng = np.random.default_rng([7, seed])
        part = tilts.targets(tilts.series((16, 48), rng, gap=8.0, faultless=True), 5, rng, middle=True)
        blend = TiltRefiner.blend(*(torch.from_numpy(x) for x in (part.pair, part.t, part.reprojected))).numpy()
        mse = [((x - part.truth) ** 2).mean() for x in (linear(part.pair, part.t), blend)]
        better.append(10 * np.log10(mse[0] / mse[1]))
    assert np.mean(better) > 1.5 and np.median(better) > 1


def test_targets_lie_between_the_tilts_that_are_given() -> None:
    rng = np.random.default_rng(9)
    part = tilts.targets(tilts.series(FIELD, rng, gap=5.0, faultless=True), 8, rng)
    assert part.pair.shape == (8, 2, *FIELD) and part.truth.shape == (8, 1, *FIELD)
    assert (part.t > 0).all() and (part.t < 1).all() and len(set(part.t.tolist())) > 1
    np.testing.assert_allclose(part.gap.mean(), 5.0, rtol=0.15)


def _easy(index: int) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Blobs that move sideways, and a reconstruction that knows nothing."""
    draw = torch.Generator().manual_seed(index)
    across, down = torch.arange(32.0), torch.arange(32.0)[:, None]
    x, y = (torch.rand(6, 1, 1, generator=draw) * 16 + 8 for _ in range(2))
    frames = [torch.exp(-((across - x - s) ** 2 + (down - y) ** 2) / 12) for s in (-2.0, 2.0, 0.0)]
    pair = torch.stack(frames[:2], dim=1)
    return (pair, torch.full((6,), 0.5), torch.full((6,), 4.0), torch.zeros(6, 3, 32, 32)), frames[2][:, None]


def test_training_beats_linear_at_what_moves() -> None:
    torch.manual_seed(0)
    inputs, truth = _easy(10**6)
    budget = Budget(steps=80, rate=4e-3)
    done = train(TiltRefiner((12, 16)), _easy, interpolation_loss, budget, validate=lambda net: {}, every=1000)
    with torch.no_grad():
        out = done.net(*inputs)
    before = (linear(inputs[0], inputs[1]) - truth).square().mean()
    assert (out - truth).square().mean() < 0.5 * before


def test_the_published_loss_is_least_at_the_truth_and_teaches_encoder_and_decoders() -> None:
    torch.manual_seed(0)
    net = Tsgnet(residuals=3, gap=False)
    loss = published_loss(net)
    (pair, t, gap, _), truth = _easy(1)
    values = []
    for wrong in (0.0, 0.02, 0.1):
        net(pair, t, gap)
        values.append(float(loss(truth + wrong * torch.randn(truth.shape), truth).detach()))
    assert values[0] < values[1] < values[2]
    loss(net(pair, t, gap), truth).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.encoder.parameters())
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.decoder[3].parameters())


def test_batches_repeat_and_successive_ones_ask_for_other_tilts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpolators, "_SIZES", ((16, 24), (12, 32)))  # the same, smaller
    batch = stream(2)
    (one, truth), (next_one, _) = batch(0), batch(1)
    again = stream(2)(0)
    assert all(torch.equal(a, b) for a, b in zip(one, again[0], strict=True)) and torch.equal(truth, again[1])
    assert one[0].shape == next_one[0].shape and not torch.equal(one[1], next_one[1])


def test_the_command_trains_tsgnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpolators, "_SIZES", ((16, 24),))  # the same, smaller
    out = tmp_path / "mine.safetensors"
    few = interpolators.validation
    monkeypatch.setattr(interpolators, "validation", lambda: few(gaps=(4, 10), repeats=1, size=(16, 24)))
    assert main(["train", "tsgnet", str(out), "--steps", "2", "--seed", "3", "--quiet"]) == 0
    net, card = load("tsgnet", path=out)
    assert isinstance(net, TiltRefiner) and (card.variant, card.steps, card.seed) == ("small", 2, 3)
    assert tuple(card.trained["gap_degree"]) == (1.0, 12.0)
    assert {"gain_over_linear", "gain_over_blurred"} <= set(card.figures)


def test_a_users_images_are_refused_where_nothing_is_learnt_from_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "tsgnet", str(tmp_path / "w.safetensors"), "--images", str(tmp_path)]) != 0
    assert "leave out --images" in capsys.readouterr().err
