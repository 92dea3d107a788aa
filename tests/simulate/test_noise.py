"""Simulated noise has the statistics that its parameters say."""

import numpy as np
import pytest

from splatom.simulate.noise import Noise, tukey_lambda

FLAT = np.full((256, 256), 50.0)
RAMP = np.tile(np.linspace(0.0, 100.0, 256), (256, 1))


def residual(noise: Noise, clean: np.ndarray, seed: int = 0) -> np.ndarray:
    return noise.apply(clean, np.random.default_rng(seed)) - clean


def test_counting_noise_has_a_variance_in_proportion_to_the_signal_above_black():
    off = residual(Noise(gain=0.8, zero=10.0, readout=2.0), RAMP)
    for low, high in ((100, 110), (200, 210)):
        assert off[:, low:high].var() == pytest.approx(4.0 + 0.8 * (RAMP[:, low:high].mean() - 10.0), rel=0.1)
    assert off[:, :20].var() == pytest.approx(4.0, rel=0.1)  # below black nothing is counted


def test_an_offset_is_the_same_along_its_line_and_another_in_the_next():
    for lines, axis in (("rows", 1), ("columns", 0)):
        off = residual(Noise(line=3.0, lines=lines), FLAT)
        assert np.ptp(off, axis=axis).max() < 1e-4
        offsets = off.mean(axis=axis)
        assert offsets.std() == pytest.approx(3.0, rel=0.15)
        assert abs(np.corrcoef(offsets[1:], offsets[:-1])[0, 1]) < 0.2


def test_an_offset_of_finite_length_forgets_itself_along_the_line():
    off = residual(Noise(line=3.0, line_length=20.0), FLAT)
    assert off.std() == pytest.approx(3.0, rel=0.1)
    for distance in (10, 20, 60):
        product = (off[:, distance:] * off[:, :-distance]).mean() / off.var()
        assert product == pytest.approx(np.exp(-((distance / 20.0) ** 2)), abs=0.06)


def test_line_noise_is_stronger_where_the_image_is_steep():
    steep = np.where(np.arange(256) < 128, 0.0, 4.0 * (np.arange(256) - 128.0)) * np.ones((256, 1))
    off = residual(Noise(line=1.0, line_gradient=0.5), steep)
    assert off[:, 10:100].std() == pytest.approx(1.0, rel=0.15)
    assert off[:, 140:240].std() == pytest.approx(1.0 + 0.5 * 4.0, rel=0.15)


def test_the_background_is_smooth_and_of_the_strength_asked_for():
    fields = np.stack([residual(Noise(background=5.0, background_length=12.0), FLAT, seed) for seed in range(4)])
    assert fields.std() == pytest.approx(5.0, rel=0.1)
    product = (fields[:, :, 24:] * fields[:, :, :-24]).mean() / fields.var()
    assert product == pytest.approx(np.exp(-(24.0**2) / (4 * 12.0**2)), abs=0.1)


def test_a_blur_takes_the_high_frequencies_of_pointwise_noise_only():
    power = np.abs(np.fft.fft2(residual(Noise(readout=4.0, blur=1.0), FLAT))) ** 2 / FLAT.size
    k = np.fft.fftfreq(256)
    for low, high in ((0.02, 0.06), (0.14, 0.16)):
        ring = (np.hypot(k[:, None], k) > low) & (np.hypot(k[:, None], k) < high)
        middle = (np.hypot(k[:, None], k)[ring] ** 2).mean()
        assert power[ring].mean() == pytest.approx(16.0 * np.exp(-4 * np.pi**2 * middle), rel=0.1)


def test_the_shape_of_the_tails_changes_at_one_variance():
    drawn = {shape: tukey_lambda((400, 400), shape, np.random.default_rng(1)) for shape in (0.0, 0.14, 0.5)}
    kurtosis = {shape: float((value**4).mean() / value.var() ** 2 - 3) for shape, value in drawn.items()}
    assert all(value.std() == pytest.approx(1.0, rel=0.02) for value in drawn.values())
    assert kurtosis[0.0] == pytest.approx(1.2, abs=0.2)  # the logistic distribution
    assert abs(kurtosis[0.14]) < 0.06  # nearly normal
    assert kurtosis[0.5] < -0.5
    with pytest.raises(ValueError, match="variance"):
        tukey_lambda((4,), -0.6, np.random.default_rng(0))


def test_a_seed_makes_the_noise():
    noise = Noise(gain=0.5, readout=2.0, line=1.0, background=1.0)
    assert np.array_equal(residual(noise, RAMP, 3), residual(noise, RAMP, 3))
    assert not np.array_equal(residual(noise, RAMP, 3), residual(noise, RAMP, 4))
