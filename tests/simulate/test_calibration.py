"""Noise is found in images as it was put in, and structure is not taken for noise."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from splatom.cli import main
from splatom.simulate.calibration import calibrate, outside
from splatom.simulate.noise import Noise


def lattice(shape, a, b, width, turn=0.0, basis=((0.0, 0.0, 1.0), (0.5, 0.5, 0.6)), level=20.0, height=100.0):
    """Gaussian columns on a lattice of two vectors along (turned) axes, float64."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    u, v = (np.cos(turn) * x + np.sin(turn) * y - 3.3) / a, (np.cos(turn) * y - np.sin(turn) * x - 5.1) / b
    out = np.full(shape, level)
    for du, dv, weight in basis:
        along = sum(np.exp(-((((u - du + 0.5) % 1 - 0.5 + i) * a) ** 2) / (2 * width**2)) for i in (-1, 0, 1))
        across = sum(np.exp(-((((v - dv + 0.5) % 1 - 0.5 + i) * b) ** 2) / (2 * width**2)) for i in (-1, 0, 1))
        out += height * weight * along * across
    return out


GRAPHENE = ((0, 0, 1.0), (1 / 3, 0, 1.0), (0.5, 0.5, 1.0), (5 / 6, 0.5, 1.0))
SPECIMENS = {  # kinds of lattice, sizes of image and sampling that nothing was tuned on
    "graphene": lattice((288, 320), 20.0, 11.5, 2.0, 0.15, GRAPHENE),
    "perovskite": lattice((256, 256), 17.3, 17.3, 2.6, 0.7, ((0, 0, 1.0), (0.5, 0.5, 0.7), (0.5, 0.0, 0.15))),
    "coarse": lattice((400, 256), 6.4, 8.9, 1.25, 0.31),
}
KNOWN = [
    Noise(gain=0.8, readout=4.0, line=3.0),
    Noise(gain=0.3, readout=6.0, line=4.0, line_gradient=0.4, line_length=40.0),
    Noise(gain=1.2, zero=10.0, line=6.0, lines="columns"),
]


def shots(clean, noise, count, seed):
    rng = np.random.default_rng(seed)
    return np.stack([noise.apply(clean, rng) for _ in range(count)])


@pytest.mark.parametrize("name", SPECIMENS)
@pytest.mark.parametrize("known", KNOWN, ids=["offsets", "gradient", "columns"])
def test_known_parameters_of_stem_noise_are_recovered_within_a_tenth(name, known):
    found = calibrate(shots(SPECIMENS[name], known, 4, 1000), repeats=False).noise
    assert found.lines == known.lines
    assert found.blur == 0
    # Where columns are 6 pixels apart, line noise on their flanks reaches the frequencies that points are measured at.
    missed = name == "coarse" and known.line_gradient > 0
    assert found.gain == pytest.approx(known.gain, rel=0.2 if missed else 0.1)
    if known.readout:
        assert found.readout == pytest.approx(known.readout, rel=0.1)
    else:
        assert found.zero == pytest.approx(known.zero, abs=0.1 * SPECIMENS[name].mean())
    assert found.line == pytest.approx(known.line, rel=0.1)
    assert found.line_gradient == pytest.approx(known.line_gradient, rel=0.1, abs=0.03)
    assert found.line_length == pytest.approx(known.line_length, rel=0.1)


@pytest.mark.parametrize("name", SPECIMENS)
def test_known_parameters_of_hrtem_noise_are_recovered_within_a_tenth(name):
    known = Noise(gain=0.5, readout=3.0, line=2.0, lines="columns", blur=0.8)
    found = calibrate(shots(SPECIMENS[name], known, 4, 2000), "hrtem", repeats=False).noise
    assert found.lines == "columns"
    for key in ("gain", "readout", "line", "blur"):
        assert getattr(found, key) == pytest.approx(getattr(known, key), rel=0.1), key
    assert found.line_gradient == 0
    assert np.isinf(found.line_length)


def test_a_smooth_background_is_found_and_a_lattice_alone_has_none():
    known = Noise(gain=0.3, readout=3.0, background=12.0, background_length=8.0)
    images = shots(SPECIMENS["perovskite"], known, 6, 5)
    found = calibrate(images, repeats=False, lines="rows").noise
    assert found.background == pytest.approx(12.0, rel=0.1)
    assert found.background_length == pytest.approx(8.0, rel=0.1)
    assert calibrate(shots(SPECIMENS["perovskite"], Noise(readout=3.0), 1, 5), lines="rows").noise.background == 0


def test_structure_far_above_the_noise_is_not_taken_for_noise():
    clean = SPECIMENS["perovskite"]
    found = calibrate(shots(clean, Noise(readout=clean.std() / 100), 1, 6), lines="rows")
    assert found.point == pytest.approx(clean.std() / 100, rel=0.1)
    assert found.contrast == pytest.approx(clean.std(), rel=0.02)
    assert found.noise.line < 0.1 * found.point


def test_no_noise_of_lines_is_found_where_there_is_none():
    found = calibrate(shots(SPECIMENS["coarse"], Noise(gain=0.5, readout=8.0), 1, 7)).noise
    assert found.line == found.line_gradient == 0


def test_repeats_tell_blurred_noise_from_structure_without_order():
    rng = np.random.default_rng(8)
    clean = 100 + 40 * gaussian_filter(rng.standard_normal((256, 256)), 1.2, mode="wrap") / 0.235
    known = Noise(readout=20.0, blur=1.0)
    images = shots(clean, known, 5, 9)
    found = calibrate(images, lines="rows")
    assert found.repeats
    assert found.noise.blur == pytest.approx(1.0, abs=0.1)
    assert found.noise.readout == pytest.approx(20.0, rel=0.1)


def test_heavy_tails_are_told_from_normal_ones():
    clean = SPECIMENS["perovskite"]
    for shape in (0.0, 0.14):
        images = shots(clean, Noise(readout=9.0, tail=shape), 2, 10)
        assert calibrate(images, lines="rows", repeats=False).noise.tail == pytest.approx(shape, abs=0.03)


def test_saturated_pixels_do_not_count():
    clean = SPECIMENS["perovskite"]
    image = shots(clean, Noise(gain=0.5, readout=4.0), 1, 11)
    clipped = np.minimum(image, np.quantile(image, 0.97))
    assert calibrate(clipped, lines="rows").noise.gain == pytest.approx(0.5, rel=0.15)
    with pytest.raises(ValueError, match="saturated"):
        calibrate(np.minimum(image, np.quantile(image, 0.4)))


def test_the_curves_are_those_of_the_noise():
    known = Noise(gain=0.8, readout=4.0, line=3.0)
    curves = calibrate(shots(SPECIMENS["graphene"], known, 2, 12), repeats=False, lines="rows").curves
    assert curves["variance"] == pytest.approx(16 + 0.8 * curves["signal"], rel=0.25)
    assert np.median(curves["power"] / curves["power_fit"]) == pytest.approx(1.0, abs=0.1)
    assert all(np.isfinite(values).all() and values.ndim == 1 for values in curves.values())


def test_units_of_the_image_are_units_of_the_noise():
    image = shots(SPECIMENS["graphene"], Noise(gain=0.5, readout=4.0, line=3.0), 1, 13)
    one, other = calibrate(image, lines="rows").noise, calibrate(1000 * image, lines="rows").noise
    assert other.readout == pytest.approx(1000 * one.readout, rel=1e-6)
    assert other.gain == pytest.approx(1000 * one.gain, rel=1e-6)
    assert other.line == pytest.approx(1000 * one.line, rel=1e-3)


def test_a_warning_names_what_lies_outside_the_training():
    found = calibrate(shots(SPECIMENS["graphene"], Noise(readout=15.0, line=6.0), 1, 14), lines="rows")
    wide = {"noise_to_contrast": [0.01, 5.0], "line_to_contrast": [0.0, 2.0]}
    assert outside(wide, found) is None
    assert outside({}, found) is None
    said = outside(wide | {"noise_to_contrast": [0.01, 0.1]}, found)
    assert "pointwise" in said
    assert "lines" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.ones((64, 64)), "constant"),
        (np.full((2, 64, 64), np.nan), "finite"),
        (np.zeros((8, 8)), "64"),
        (np.zeros((64, 64, 3, 1)), "grey"),
        (np.ones((64, 64), complex), "complex"),
    ],
)
def test_images_that_cannot_be_calibrated_are_refused_in_one_line(images, words):
    with pytest.raises(ValueError, match=words) as caught:
        calibrate(images)
    assert "\n" not in str(caught.value)


def test_the_command_prints_what_was_found_and_draws_it(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    source = tmp_path / "image.npz"
    np.savez(source, image=shots(SPECIMENS["perovskite"], Noise(gain=0.5, readout=4.0), 1, 15)[0])
    assert main(["calibrate", str(source), "--lines", "rows", "--json", "--plot", str(tmp_path / "noise.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["noise"]["gain"] == pytest.approx(0.5, rel=0.15)
    assert len(found["curves"]["variance"]) == len(found["curves"]["signal"])
    assert (tmp_path / "noise.png").stat().st_size > 10_000
    np.savez(source, image=np.ones((64, 64)))
    assert main(["calibrate", str(source)]) == 1
    assert "constant" in capsys.readouterr().err.splitlines()[-1]
