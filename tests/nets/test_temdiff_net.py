"""TEMDiff's network: what it says of noise, of nothing, and of patches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from splatom import weights
from splatom.nets.temdiff import SIGMA_DATA, TemDiff, scale_of
from splatom.weights import VARIANTS, Card, build, load, save, shipped


def _net(**size: int) -> TemDiff:
    """A network that does something: the last layer is zero before training."""
    torch.manual_seed(0)
    net = TemDiff(**{"base": 4, "levels": 2, **size})
    torch.nn.init.normal_(net.tail.weight, std=0.1)
    return net.eval()


def _told(*shape: int) -> torch.Tensor:
    return torch.cat([torch.rand(1, 1, *shape), torch.full((1, 1, *shape), 0.3)], dim=1)


@torch.no_grad()
def test_what_has_no_noise_is_left_as_it_is() -> None:
    x = torch.rand(1, 1, 16, 16, 16)
    torch.testing.assert_close(_net()(x, torch.tensor([1e-4]), _told(16, 16, 16)), x, atol=2e-3, rtol=0)


@torch.no_grad()
def test_before_training_noise_is_weighed_against_the_reconstruction_as_a_gaussian_prior_would() -> None:
    """E[x | x + σn] of x ~ N(r, σ_d²) is the mean of both, weighted by the other's variance."""
    torch.manual_seed(0)
    x, told = torch.randn(2, 1, 16, 16, 16), torch.cat([_told(16, 16, 16)] * 2)
    sigma = torch.tensor([0.3, 4.0])
    level = sigma[:, None, None, None, None]
    expected = (SIGMA_DATA**2 * x + level**2 * told[:, :1]) / (SIGMA_DATA**2 + level**2)
    torch.testing.assert_close(TemDiff(4, 2)(x, sigma, told), expected)


@torch.no_grad()
def test_no_condition_is_a_condition_of_zeros() -> None:
    net, x, sigma = _net(), torch.randn(1, 1, 16, 16, 16), torch.tensor([0.7])
    nothing = torch.zeros(1, 2, 16, 16, 16)
    assert torch.equal(net(x, sigma), net(x, sigma, nothing))
    assert not torch.allclose(net(x, sigma), net(x, sigma, _told(16, 16, 16)), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(8, 8, 8), (9, 31, 14), (17, 8, 40)])
def test_any_size_is_taken(shape: tuple[int, int, int]) -> None:
    x = torch.randn(1, 1, *shape)
    for levels in (2, 3):
        out = _net(levels=levels)(x, torch.tensor([0.5]), _told(*shape))
        assert out.shape == x.shape and bool(torch.isfinite(out).all())


def test_what_is_too_small_for_the_network_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 voxels a side, not \\(8, 7, 9\\)"):
        _net()(torch.zeros(1, 1, 8, 7, 9), torch.ones(1))


@torch.no_grad()
def test_a_patch_gives_what_the_volume_gives_there() -> None:
    """Nothing but what is near matters: 32 voxels from the cut the numbers are the same."""
    net, x, told, sigma = _net(), torch.randn(1, 1, 16, 16, 96), _told(16, 16, 96), torch.tensor([1.0])
    whole = net(x, sigma, told)
    part = net(x[..., :64], sigma, told[..., :64])
    torch.testing.assert_close(part[..., :32], whole[..., :32], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(part[..., 62:], whole[..., 62:64], atol=1e-3)  # and at the cut they are not


@torch.no_grad()
def test_volumes_of_a_batch_know_nothing_of_each_other() -> None:
    net = _net()
    x, told, sigma = torch.randn(2, 1, 16, 16, 16), torch.cat([_told(16, 16, 16)] * 2), torch.tensor([0.2, 3.0])
    alone = torch.cat([net(x[i : i + 1], sigma[i : i + 1], told[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(net(x, sigma, told), alone, atol=1e-5, rtol=1e-5)


def test_the_scale_goes_with_the_intensity_and_is_the_same_however_much_is_empty() -> None:
    blob = torch.rand(8, 8, 8)
    wide = torch.nn.functional.pad(blob, (10,) * 6)
    assert scale_of(3 * blob) == pytest.approx(3 * scale_of(blob), rel=1e-6)
    assert scale_of(wide) == pytest.approx(scale_of(blob), rel=1e-6)
    assert scale_of(0.4 * torch.ones(4, 4, 4)) == pytest.approx(0.4)
    assert scale_of(torch.zeros(4, 4, 4)) == 1.0


def test_weights_of_a_prior_come_back_with_its_kind(tmp_path: Path) -> None:
    net = build("temdiff", "small-materials").eval()
    torch.nn.init.normal_(net.tail.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    save(tmp_path / "w.safetensors", net, Card("temdiff", "small-materials", steps=5))
    assert (tmp_path / "w.safetensors").stat().st_size < 2e6
    again, card = load("temdiff", path=tmp_path / "w.safetensors")
    x, sigma = torch.randn(1, 1, 16, 16, 16), torch.tensor([1.0])
    with torch.no_grad():
        torch.testing.assert_close(again(x, sigma), net(x, sigma), atol=5e-3, rtol=5e-3)
    assert card.variant == "small-materials" and set(card.architecture) == {"base"}
    assert {v.split("-")[1] for v in VARIANTS["temdiff"]} == {"biological", "materials"}


@pytest.mark.parametrize("kind", ["biological", "materials"])
def test_the_shipped_prior_improves_on_the_reconstruction_it_is_told_at_every_range(kind: str) -> None:
    net, card = load("temdiff", f"small-{kind}")
    assert f"small-{kind}" in shipped("temdiff") and not net.training
    gains = {name: value for name, value in card.figures.items() if name.startswith("gain_") and "degrees" in name}
    assert len(gains) == 4 and min(gains.values()) > 0
    page = Path(weights.__file__).parent / f"temdiff-{card.variant}.md"
    assert page.read_text(encoding="utf-8") == card.page()
    assert page.with_suffix(".safetensors").stat().st_size <= 2e6
