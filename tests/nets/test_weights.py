"""Weights: what ships, what is damaged, and the card that travels along."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from splatom import weights
from splatom.weights import Card, WeightsError, build, load, save, shipped


@pytest.mark.parametrize("network", ["scgn", "sfin"])
def test_what_ships_can_be_loaded_and_says_what_it_is(network: str) -> None:
    net, card = load(network)
    assert card.network == network and card.variant == shipped(network)[0]
    assert card.steps > 1000 and card.figures["gain_over_gaussian"] > 0
    assert card.trained["noise_to_contrast"][0] < card.trained["noise_to_contrast"][1]
    assert not net.training
    page = Path(weights.__file__).parent / f"{network}-{card.variant}.md"
    assert page.read_text(encoding="utf-8") == card.page()


def test_the_shipped_weights_fit_their_budget() -> None:
    files = list(Path(weights.__file__).parent.glob("*.safetensors"))
    assert files
    assert all(f.stat().st_size <= 8 * 2**20 for f in files)
    assert sum(f.stat().st_size for f in files) <= 24 * 2**20


def test_weights_come_back_in_half_precision(tmp_path: Path) -> None:
    net = build("sfin", "small").eval()
    save(tmp_path / "w.safetensors", net, Card("sfin", "small", steps=3))
    again, card = load("sfin", path=tmp_path / "w.safetensors")
    x = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(again(x), net(x), atol=5e-3, rtol=5e-3)
    assert card.steps == 3


def test_weights_that_are_missing_say_which_and_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"sfin-full\.safetensors.*splatom train sfin"):
        load("sfin", "full")
    with pytest.raises(WeightsError, match="no such file of weights"):
        load("sfin", path=tmp_path / "none.safetensors")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    good = tmp_path / "w.safetensors"
    save(good, build("scgn", "small"), Card("scgn", "small"))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"cut\.safetensors.*damaged"):
        load("scgn", path=cut)
    with pytest.raises(WeightsError, match="weights of scgn, not of sfin"):
        load("sfin", path=good)


def test_weights_that_overflow_half_precision_are_not_written(tmp_path: Path) -> None:
    net = build("sfin", "small")
    with torch.no_grad():
        next(net.parameters())[:] = 1e6
    with pytest.raises(WeightsError, match="not finite"):
        save(tmp_path / "w.safetensors", net, Card("sfin", "small"))
