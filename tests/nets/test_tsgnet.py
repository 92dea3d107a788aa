"""TSGNet: as published, and the one that knows the tilt's geometry."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from splatom import weights
from splatom.nets import TiltRefiner, Tsgnet
from splatom.weights import build, load, shipped


def _given(rows: int, columns: int, batch: int = 2) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(rows)
    pair = torch.rand(batch, 2, rows, columns, generator=draw)
    return pair, torch.linspace(0.2, 0.7, batch), torch.full((batch,), 4.0), pair[:, [0, 0, 1]] * 0.9


def test_the_published_network_has_the_published_number_of_parameters() -> None:
    """4,959,116; ours has one residual channel instead of three, and the gap as an input."""
    published, ours = Tsgnet(residuals=3, gap=False), Tsgnet()
    assert sum(p.numel() for p in published.parameters()) == 4_959_116
    # Two output channels of the last transposed convolution fewer; one input channel of the first decoder more.
    assert sum(p.numel() for p in ours.parameters()) == 4_959_116 - 2 * (96 * 16 + 1) + 192 * 9
    assert sum(p.numel() for p in published.encoder.parameters()) == 267_968


@pytest.mark.parametrize("net", [Tsgnet(), TiltRefiner()], ids=["published", "refiner"])
@pytest.mark.parametrize("shape", [(8, 9), (40, 56), (33, 64)])
def test_every_size_comes_back_as_it_was(net: torch.nn.Module, shape: tuple[int, int]) -> None:
    with torch.no_grad():
        out = net.eval()(*_given(*shape))
    assert out.shape == (2, 1, *shape) and torch.isfinite(out).all()


def test_the_small_variant_is_small() -> None:
    assert sum(p.numel() for p in build("tsgnet", "small").parameters()) <= 600_000


def test_untrained_the_refiner_is_the_geometric_blend_which_at_the_neighbours_is_what_was_measured() -> None:
    pair, t, gap, reprojected = _given(24, 32)
    net = TiltRefiner().eval()
    with torch.no_grad():
        torch.testing.assert_close(net(pair, t, gap, reprojected), net.blend(pair, t, reprojected))
    for end, side in ((0.0, 0), (1.0, 1)):  # there the reprojection is that of the neighbour
        same = reprojected[:, [1 + side, 1, 2]]
        torch.testing.assert_close(net.blend(pair, torch.full((2,), end), same)[:, 0], pair[:, side])


def test_a_perfect_reconstruction_leaves_the_refiner_its_reprojection() -> None:
    """What explains both neighbours to the last count is believed in between; else the rest is interpolated."""
    pair, t, _, _ = _given(16, 16)
    middle = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(TiltRefiner.blend(pair, t, torch.cat([middle, pair], dim=1)), middle)
    nothing = torch.zeros(2, 3, 16, 16)
    at = t[:, None, None, None]
    torch.testing.assert_close(TiltRefiner.blend(pair, t, nothing), (1 - at) * pair[:, :1] + at * pair[:, 1:])


def test_the_refiner_knows_no_unit_of_intensity() -> None:
    """Twice the counts, twice the answer: the inner scales come from the images."""
    torch.manual_seed(1)
    net = TiltRefiner().eval()
    torch.nn.init.normal_(net.tail.weight, std=0.1)
    pair, t, gap, reprojected = _given(32, 32)
    with torch.no_grad():
        once, twice = net(pair, t, gap, reprojected), net(2 * pair, t, gap, 2 * reprojected)
    torch.testing.assert_close(twice, 2 * once, atol=2e-2, rtol=2e-2)
    assert not torch.allclose(once, net.blend(pair, t, reprojected), atol=1e-3)


def test_the_published_network_follows_what_moves() -> None:
    """A flow of some pixels takes an image there, and beyond the edge the edge goes on."""
    from splatom.nets.tsgnet import _warped

    image = torch.arange(12.0).expand(1, 1, 10, 12)
    flow = torch.zeros(1, 2, 10, 12)
    flow[:, 0] = 2.5
    moved = _warped(image, flow)
    torch.testing.assert_close(moved[0, 0, 4, :9], torch.arange(2.5, 11.0))
    assert torch.all(moved[0, 0, :, 9:] == 11)


def test_what_ships_of_tsgnet_says_what_gaps_it_knows() -> None:
    net, card = load("tsgnet")
    assert isinstance(net, TiltRefiner) and not net.training
    assert card.variant == shipped("tsgnet")[0] and tuple(card.trained["gap_degree"]) == (1.0, 12.0)
    assert card.figures["gain_over_linear"] > 2 and card.figures["gain_over_blurred"] > 1
    page = Path(weights.__file__).parent / f"tsgnet-{card.variant}.md"
    assert page.read_text(encoding="utf-8") == card.page()
