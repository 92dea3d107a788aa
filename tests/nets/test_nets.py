"""SCGN and SFIN: as published, of any size of image, and shift-free where they should be."""

from __future__ import annotations

import pytest
import torch

from splatom.nets import Scgn, Sfin
from splatom.nets._frame import image_of, spectrum


@pytest.mark.parametrize(("network", "count"), [(Scgn, 1_640_641), (Sfin, 960_193)])
def test_the_published_numbers_of_parameters_come_out(network: type, count: int) -> None:
    assert sum(p.numel() for p in network().parameters()) == count


@pytest.mark.parametrize("network", [Scgn, Sfin])
@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("shape", [(8, 8), (17, 40), (33, 21)])
def test_any_size_of_image_keeps_its_shape(network: type, fold: int, shape: tuple[int, int]) -> None:
    net = network(width=8, blocks=2, outputs=2, fold=fold, residual=fold > 1).eval()
    out = net(torch.randn(2, 1, *shape))
    assert out.shape == (2, 2, *shape)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("shape", [(6, 8), (7, 9), (16, 5)])
def test_spectrum_and_image_are_inverse_to_each_other(shape: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *shape, dtype=torch.float32)
    parts = spectrum(x)
    assert parts.shape == (2, 8, shape[0], shape[1] // 2 + 1)
    torch.testing.assert_close(image_of(parts[:, 2:], shape), x, atol=1e-5, rtol=1e-5)


def test_the_spectrum_keeps_energy_and_names_its_frequencies() -> None:
    x = torch.randn(1, 1, 8, 6)
    parts = spectrum(x)
    both = (parts[:, 2:] ** 2).sum(1)[0]
    twice = 2 * both.sum() - both[:, 0].sum() - both[:, -1].sum()  # all columns but the first and last count twice
    torch.testing.assert_close(twice, (x**2).sum(), rtol=1e-5, atol=1e-5)
    assert parts[0, 0, -1, 0] == 1 and parts[0, 1, 0, -1] == 1 and parts[0, 0, 0, 0] == 0


@pytest.mark.parametrize("network", [Scgn, Sfin])
def test_every_weight_has_a_part_in_the_answer(network: type) -> None:
    torch.manual_seed(0)
    net = network(width=32, blocks=2, outputs=2, fold=2, residual=True)
    net(torch.randn(2, 1, 24, 24)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.ndim > 1)


@pytest.mark.parametrize("network", [Scgn, Sfin])
def test_one_pixel_is_felt_in_the_whole_image(network: type) -> None:
    """The frequency branch sees everything at once: that is what it is for."""
    torch.manual_seed(0)
    net = network(width=8, blocks=1).eval()
    x = torch.randn(1, 1, 48, 48)
    other = x.clone()
    other[0, 0, 2, 2] += 10
    assert (net(x) - net(other))[0, 0, 30:, 30:].abs().max() > 1e-6


def test_an_odd_width_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="even"):
        Sfin(width=7)
