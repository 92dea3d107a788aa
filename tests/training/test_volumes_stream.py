"""Training TEMDiff's prior: what is reconstructed belongs to what was drawn, and the network learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from splatom.cli import main
from splatom.data import Volume
from splatom.io import write
from splatom.nets import TemDiff
from splatom.training import priors, volumes
from splatom.training.loop import Budget, train
from splatom.training.priors import prior_loss, stream
from splatom.weights import load

SIZE = (40, 24, 40)


def _pair(kind: volumes.Kind, seed: int, half: float) -> volumes.Pair:
    return volumes.pair(kind, SIZE, np.random.default_rng(seed), half_range=half)


@pytest.mark.parametrize("kind", volumes.KINDS)
def test_a_seed_gives_the_same_volume_and_another_seed_another(kind: volumes.Kind) -> None:
    first, again, other = (volumes.specimen(kind, SIZE, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("kind", volumes.KINDS)
def test_specimens_are_matter_on_nothing(kind: volumes.Kind) -> None:
    drawn = [volumes.specimen(kind, SIZE, np.random.default_rng(s)) for s in range(12)]
    assert all(d.dtype == np.float32 and d.shape == SIZE and np.isfinite(d).all() for d in drawn)
    assert min(d.min() for d in drawn) >= 0 and max(d.max() for d in drawn) < 3
    assert len({round(float(d.mean()), 6) for d in drawn}) == 12  # no two alike


@pytest.mark.parametrize("kind", volumes.KINDS)
def test_the_wider_the_range_of_tilts_the_better_is_what_is_reconstructed(kind: volumes.Kind) -> None:
    errors = []
    for half in (5.0, 70.0):
        pairs = [_pair(kind, seed, half) for seed in range(6)]
        errors.append([np.sqrt(((p.classical - p.truth) ** 2).mean() / (p.truth**2).mean()) for p in pairs])
        assert all(p.reach == pytest.approx(half / 90, abs=1e-6) for p in pairs)
    assert np.median(errors[1]) < 0.6 * np.median(errors[0])


def test_what_the_tilts_do_not_see_is_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Projections at |θ| ≤ α fix the transform where |kz| ≤ |kx| tan α, and nothing else."""
    monkeypatch.setattr(volumes, "_noise", lambda images, rng: np.zeros_like(images))
    shares = []
    for seed in range(6):
        drawn = _pair("materials", seed, 20.0)
        kz, _, kx = np.meshgrid(*(np.fft.fftfreq(n) for n in SIZE), indexing="ij", sparse=True)
        inside = (np.abs(kz) < 0.9 * np.abs(kx) * np.tan(np.deg2rad(20))) & (np.hypot(kz, kx) < 0.2)
        outside = (np.abs(kz) > np.abs(kx)) & (np.hypot(kz, kx) < 0.2)
        wrong, right = (np.abs(np.fft.fftn(a)) ** 2 for a in (drawn.classical - drawn.truth, drawn.truth))
        shares.append([(wrong * where).sum() / (right * where).sum() for where in (inside, outside)])
    seen, unseen = np.median(shares, axis=0)
    assert seen < 0.2 and unseen > 2 * seen


def test_patches_are_mirrored_together_with_their_reconstruction() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(SIZE, dtype=np.float32)
    drawn = volumes.Pair(truth, truth**2, 0.3)
    ways = set()
    for _ in range(100):
        patch, told = priors._patch(drawn, SIZE, rng)
        bright = patch.mean() / truth.mean()
        np.testing.assert_allclose(told[0] * bright, patch**2, rtol=1e-4)
        np.testing.assert_allclose(told[1], 0.3, rtol=1e-6)
        ways.add(int(np.argmax(patch)))
    assert len(ways) == 8  # each axis either way


def test_batches_repeat_whoever_asks_and_in_whatever_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priors, "_BOXES", (SIZE,))  # the same, smaller
    monkeypatch.setattr(priors, "_PATCHES", ((16, 16, 16), (24, 16, 24)))
    monkeypatch.setattr(priors, "_FIRST", 3)
    monkeypatch.setattr(priors, "_KEPT", 3)
    batch = stream("materials", 2)
    batches = [batch(i) for i in (0, 1, 40)]
    again = [stream("materials", 2)(i) for i in (40, 0)]
    for one, two in zip((batches[2], batches[0]), again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip((*one[0], one[1]), (*two[0], two[1]), strict=True))
    assert not torch.equal(batches[0][0][1], batches[1][0][1])


def test_the_noise_in_a_batch_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priors, "_BOXES", (SIZE,))
    monkeypatch.setattr(priors, "_PATCHES", ((24, 24, 24),))
    monkeypatch.setattr(priors, "_FIRST", 3)
    (noisy, sigma, condition, _), target = stream("materials", 5, scale=4)(0)
    measured = (noisy - target[:, :1]).std(dim=(1, 2, 3, 4))
    torch.testing.assert_close(measured, sigma, rtol=0.03, atol=0)
    assert noisy.shape == (8, 1, 24, 24, 24) and condition.shape == (8, 2, 24, 24, 24)
    left_out = condition.flatten(1).abs().amax(dim=1) == 0
    assert torch.equal(left_out, condition[:, 1].flatten(1).amax(dim=1) == 0)


def test_the_loss_is_least_at_the_truth_and_a_dim_patch_counts_like_a_bright_one() -> None:
    torch.manual_seed(0)
    truth = torch.rand(2, 1, 8, 8, 8)
    target = torch.cat([truth, torch.ones_like(truth)], dim=1)
    wrong = torch.randn_like(truth) * torch.tensor([10.0, 3.0])[:, None, None, None, None]
    values = [float(prior_loss(truth + s * wrong, target)) for s in (0.0, 0.5, 1.0)]
    assert values[0] < values[1] < values[2]
    halved = [truth + wrong * torch.tensor(by)[:, None, None, None, None] for by in ([0.5, 1.0], [1.0, 0.5])]
    assert float(prior_loss(halved[0], target)) == pytest.approx(float(prior_loss(halved[1], target)), abs=0.02)


def _balls(index: int) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Balls, and a reconstruction that smears them along z."""
    draw = torch.Generator().manual_seed(index)
    z, y, x = torch.meshgrid(*(torch.arange(16.0),) * 3, indexing="ij")
    at = torch.rand(4, 3, 1, 1, 1, generator=draw) * 6 + 5
    near = (z - at[:, 0]) ** 2 + (y - at[:, 1]) ** 2 + (x - at[:, 2]) ** 2
    truth = torch.sigmoid(2 * (9 - near))[:, None]
    smeared = truth.mean(dim=2, keepdim=True) * torch.exp(-((z - at[:, 0]) ** 2) / 60)[:, None] * 2
    told = torch.cat([smeared, torch.full_like(smeared, 0.1)], dim=1)
    sigma = torch.full((4,), 5.0)
    noise = torch.randn(truth.shape, generator=draw)
    return priors._exam(truth, sigma, noise, told)


def test_a_prior_learns_that_balls_are_round() -> None:
    torch.manual_seed(0)
    done = train(TemDiff(8, 2), _balls, prior_loss, Budget(steps=120, rate=4e-3), validate=lambda net: {}, every=1000)
    (noisy, sigma, told, _), target = _balls(10**6)
    with torch.no_grad():
        out = done.net(noisy, sigma, told)
    before, after = ((guess - target[:, :1]).square().mean() for guess in (told[:, :1], out))
    assert after < 0.4 * before


# ---------------------------------------------------------------- a user's own volumes
def _mitochondrion(shape: tuple[int, int, int] = (30, 34, 38)) -> np.ndarray:
    """Dark membrane on a bright ground, as FIB-SEM shows it."""
    z, y, x = np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij", sparse=True)
    return (200 - 120 * (np.abs(np.sqrt(z**2 + y**2 + x**2) - 10) < 1.5)).astype(np.float32)


def test_dark_membranes_become_bright_on_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", Volume(_mitochondrion(), 4.0))
    (got,) = volumes.own_volumes(tmp_path)
    assert got.shape == (30, 34, 38) and np.median(got) == pytest.approx(0, abs=1e-3)
    assert got[_mitochondrion() < 100].mean() == pytest.approx(1, abs=1e-3)


def test_specimens_are_cut_from_the_users_volumes(tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", Volume(_mitochondrion(), 4.0))
    own = volumes.own_volumes(tmp_path / "a.mrc")
    rng = np.random.default_rng(0)
    piece = volumes._cut(own[0], (12, 60, 20), rng)
    assert piece.shape == (12, 60, 20) and (piece.max(axis=(0, 2)) == 0).any()  # 60 is more than there is
    drawn = volumes.pair("biological", (24, 16, 24), rng, own=own)
    assert drawn.truth.shape == (24, 16, 24) and np.isfinite(drawn.classical).all()


def test_volumes_that_cannot_be_learnt_from_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no volumes in it"):
        volumes.own_volumes(tmp_path)
    write(tmp_path / "small.mrc", Volume(np.ones((8, 30, 30), np.float32), 1.0))
    with pytest.raises(ValueError, match=r"small\.mrc.*at least 16 a side"):
        volumes.own_volumes(tmp_path)
    write(tmp_path / "small.mrc", Volume(np.ones((20, 30, 30), np.float32), 1.0))
    with pytest.raises(ValueError, match=r"small\.mrc.*no contrast"):
        volumes.own_volumes(tmp_path)


# ---------------------------------------------------------------- the command
def test_the_command_trains_a_prior_on_the_users_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priors, "_BOXES", ((24, 16, 24),))  # the same, smaller
    monkeypatch.setattr(priors, "_PATCHES", ((16, 16, 16),))
    few = priors.validation
    monkeypatch.setattr(priors, "validation", lambda kind: few(kind, half_ranges=(10,), repeats=1, size=(24, 16, 24)))
    write(tmp_path / "a.mrc", Volume(_mitochondrion(), 4.0))
    out = tmp_path / "mine.safetensors"
    words = ["train", "temdiff", str(out), "--steps", "2", "--volumes", str(tmp_path / "a.mrc"), "--quiet"]
    assert main(words) == 0
    net, card = load("temdiff", path=out)
    assert isinstance(net, TemDiff) and (card.variant, card.steps) == ("small-biological", 2)
    assert "the user's own" in card.data and {"gain_10_degrees", "gain_over_blurred"} <= set(card.figures)
    assert tuple(card.trained["half_range_degree"]) == volumes.HALF_RANGE_DEGREE
    assert main(["train", "temdiff", str(out), "--steps", "1", "--start", str(out), "--quiet"]) == 0


@pytest.mark.parametrize(
    ("network", "option", "says"), [("temdiff", "--images", "--volumes"), ("scgn", "--volumes", "learns from images")]
)
def test_what_a_network_does_not_learn_from_is_refused(
    network: str, option: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", network, str(tmp_path / "w.safetensors"), option, str(tmp_path)]) == 1
    assert says in capsys.readouterr().err
