"""Training: repeatable, resumable, and it learns."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from splatom.cli import main
from splatom.training.denoisers import denoising_loss, stream
from splatom.training.loop import Budget, train
from splatom.training.micrographs import DOT_SIGMA, micrograph, pair
from splatom.training.own import own_images
from splatom.training.run import TrainParams, train_network
from splatom.weights import load


@pytest.mark.parametrize("modality", ["stem", "hrtem"])
def test_a_seed_gives_the_same_images_and_another_seed_others(modality: str) -> None:
    first, again, other = (pair(64, modality, np.random.default_rng(s)) for s in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("modality", ["stem", "hrtem"])
def test_noise_is_all_that_parts_input_from_target(modality: str) -> None:
    """Over many images the noise has no mean: the network has nothing to learn but the noise-free image."""
    differences, spreads = [], []
    for i in range(60):
        noisy, target = pair(64, modality, np.random.default_rng([5, i]))
        differences.append(float((noisy[0] - target[0]).mean()))
        spreads.append(float((noisy[0] - target[0]).std()))
    assert np.isfinite(differences).all()
    assert abs(np.mean(differences)) < 4 * np.std(differences) / np.sqrt(60)
    assert min(spreads) > 0 and max(spreads) / min(spreads) > 3  # of low and of high dose


@pytest.mark.parametrize("modality", ["stem", "hrtem"])
def test_a_view_may_hold_no_atom(modality: str) -> None:
    views = [micrograph(8, modality, np.random.default_rng([7, i])) for i in range(300)]
    assert all(np.isfinite(v.image).all() and np.isfinite(v.dots).all() for v in views)
    assert any(v.image.std() < 1e-6 for v in views)


def test_dots_are_of_height_one_and_sit_on_columns() -> None:
    """In dark field the image is brighter under the dots than between them."""
    higher = []
    for i in range(80):
        view = micrograph(96, "stem", np.random.default_rng([6, i]))
        assert view.dots.min() >= 0 and view.dots.max() <= 1 + 1e-9
        on, off = view.dots > 0.9, view.dots < 0.05
        dark_field = view.image.min() >= 0  # bright field is drawn negated
        if dark_field and on.sum() > 20 and off.sum() > 200:
            higher.append(view.image[on].mean() > view.image[off].mean())
    assert len(higher) > 15 and np.mean(higher) > 0.95
    assert DOT_SIGMA > 0


def _net() -> torch.nn.Module:
    torch.manual_seed(0)
    first, last = torch.nn.Conv2d(1, 8, 5, padding=2), torch.nn.Conv2d(8, 2, 5, padding=2)
    return torch.nn.Sequential(first, torch.nn.ReLU(), last)


def _batch(index: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = [pair(48, "stem", np.random.default_rng([8, index, i])) for i in range(4)]
    return torch.from_numpy(np.stack([m[0] for m in made])), torch.from_numpy(np.stack([m[1] for m in made]))


def test_training_makes_a_network_better() -> None:
    x, y = _batch(10**6)

    def validate(net: torch.nn.Module) -> dict[str, float]:
        with torch.no_grad():
            return {"loss": float(denoising_loss(net(x), y))}

    heard: list[float] = []
    done = train(
        _net(), _batch, denoising_loss, Budget(steps=120), validate=validate, every=40,
        report=lambda p: heard.append(p.figures["loss"]),
    )  # fmt: skip
    assert done.steps == 120 and len(heard) == 3
    assert heard[-1] < validate(_net().eval())["loss"] - 0.5


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    class _Enough(Exception):
        pass

    def stop_at(last: int) -> Callable[[], None]:
        left = iter(range(last))

        def tick() -> None:
            if next(left, None) is None:
                raise _Enough

        return tick

    budget, state = Budget(steps=12), tmp_path / "state"
    nothing = {"validate": lambda net: {}, "every": 4}
    whole = train(_net(), _batch, denoising_loss, budget, **nothing).net
    with pytest.raises(_Enough):
        train(_net(), _batch, denoising_loss, budget, checkpoint=state, tick=stop_at(9), **nothing)
    rest = train(_net(), _batch, denoising_loss, budget, checkpoint=state, resume=True, **nothing).net
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("junk")
    budget, nothing = Budget(steps=1), {"validate": lambda net: {}, "checkpoint": tmp_path / "state"}
    with pytest.raises(ValueError, match="state: no state of this network"):
        train(_net(), _batch, denoising_loss, budget, resume=True, **nothing)


def test_processes_that_make_images_may_be_spawned() -> None:
    """Windows, macOS and Python 3.14 hand them the stream pickled."""
    batch = stream("sfin", 3)
    assert torch.equal(pickle.loads(pickle.dumps(batch))(1)[0], batch(1)[0])


def test_ctrl_c_leaves_what_was_learnt() -> None:
    def tick() -> None:
        raise KeyboardInterrupt

    done = train(_net(), _batch, denoising_loss, Budget(steps=50), validate=lambda net: {}, tick=tick)
    assert done.interrupted and done.steps == 1


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    with pytest.raises(ValueError, match="not finite"):
        train(_net(), _batch, lambda a, b: a.mean() * float("nan"), Budget(steps=50), validate=lambda net: {})


def test_the_command_writes_weights_card_and_log(tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    options = ["--steps", "2", "--every", "1", "--seed", "3", "--quiet"]
    assert main(["train", "sfin", str(out), *options]) == 0
    card = load("sfin", path=out)[1]
    assert (card.network, card.seed, card.steps) == ("sfin", 3, 2)
    assert "# SFIN, small" in out.with_suffix(".md").read_text()
    lines = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"psnr", "gain_over_gaussian"} <= set(lines[0]["figures"])


def test_wrong_names_of_files_and_networks_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sfin", str(tmp_path / "out.pt"), "--steps", "1"]) == 1
    assert "safetensors" in capsys.readouterr().err
    (tmp_path / "folder.safetensors").mkdir()
    assert main(["train", "sfin", str(tmp_path / "folder.safetensors"), "--steps", "1"]) == 1
    assert "is a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        main(["train", "nonsense", str(tmp_path / "out.safetensors")])
    assert exit_.value.code == 2


def test_own_noise_is_what_the_simulation_adds(tmp_path: Path) -> None:
    """Fine-tuning on images of strong noise draws examples about as noisy as these are."""
    y, x = np.mgrid[:160, :160]
    clean = 10 + np.cos(2 * np.pi * x / 11) * np.cos(2 * np.pi * y / 11)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", image=(clean + rng.normal(scale=1.5, size=clean.shape)).astype(np.float32))
    (tmp_path / "notes.txt").write_text("not an image, and no matter")
    own = own_images("stem", tmp_path, None)
    measured = own.measured[0]
    assert measured.contrast == pytest.approx(clean.std(), rel=0.2)
    image, noisy = own.noisy(rng.normal(size=(64, 64)), np.random.default_rng(1))
    assert (noisy - image).std() == pytest.approx(1.5, rel=0.15)
    assert image.mean() == pytest.approx(10, abs=0.2)


def test_own_clean_images_are_cut_at_random(tmp_path: Path) -> None:
    np.savez(tmp_path / "clean.npz", image=np.arange(160 * 160, dtype=np.float32).reshape(160, 160))
    own = own_images("stem", None, tmp_path / "clean.npz")
    part = own.cut(64, np.random.default_rng(0))
    assert part is not None and part.shape == (64, 64)
    assert {abs(int(d)) for d in np.diff(part, axis=0).ravel()} in ({160}, {1})
    assert own.cut(200, np.random.default_rng(0)) is None
    x, y = stream("sfin", 0, own=own)(0)
    assert torch.isfinite(x).all() and torch.isfinite(y[:, 0]).all() and torch.isnan(y[:, 1]).any()
    assert torch.isfinite(denoising_loss(torch.zeros_like(y), y))


def test_fine_tuning_starts_from_what_is_given(tmp_path: Path) -> None:
    first = tmp_path / "first.safetensors"
    train_network("sfin", first, TrainParams(steps=1))
    train_network("sfin", tmp_path / "second.safetensors", TrainParams(steps=1, start=str(first), rate=1e-9))
    a, b = load("sfin", path=first)[0], load("sfin", path=tmp_path / "second.safetensors")[0]
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, atol=2e-3, rtol=2e-3)
