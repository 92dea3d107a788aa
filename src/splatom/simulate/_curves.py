"""Regressions that read the parameters of noise off the pieces of images, and the curves for plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from splatom.simulate._fit import frequencies
from splatom.simulate._pieces import Pieces, line_spectrum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["line_curve", "spectra", "tail_of", "variance_curve"]


def _bins(by: Array, count: int = 24, least: float = 0.004) -> tuple[Array, NDArray[np.intp]]:
    """Cut values into bins of equal width; the label of a value in a bin with too few is -1."""
    low, high = np.quantile(by, [0.002, 0.998])
    edges = np.linspace(low, max(high, low + 1e-12), count + 1)
    label = np.searchsorted(edges, by, side="right") - 1
    label[(label < 0) | (label >= count)] = -1
    number = np.bincount(label[label >= 0], minlength=count)
    label[(label >= 0) & (number[label] < max(least * len(by), 50))] = -1
    return np.flatnonzero(np.bincount(label[label >= 0], minlength=count) > 0).astype(float), label


def _means(label: NDArray[np.intp], used: Array, values: Array) -> Array:
    sums = np.bincount(label[label >= 0], values[label >= 0])
    number = np.bincount(label[label >= 0])
    out: Array = sums[used.astype(int)] / number[used.astype(int)]
    return out


def variance_curve(pieces: list[Pieces], line_gradient: float, curves: dict[str, Array]) -> tuple[float, float]:
    """Fit the pointwise variance before the blur: ``base + gain · signal``."""
    seen = np.concatenate([p.seen[p.good] for p in pieces])
    leaks = [line_gradient * p.along_lines(p.gradient)[1] for p in pieces]
    left = [(p.point / np.maximum(p.taper, 1e-3)) ** 2 - leak**2 for p, leak in zip(pieces, leaks, strict=True)]
    squares = np.concatenate([v[p.good] / p.point_share for v, p in zip(left, pieces, strict=True)])
    used, label = _bins(seen)
    if len(used) == 0:
        return float(squares.mean()), 0.0
    number = np.bincount(label[label >= 0])[used.astype(int)]
    at, variance = _means(label, used, seen), _means(label, used, squares)
    base, gain = float(np.average(variance, weights=number)), 0.0
    if len(used) > 2:
        model = np.full(len(at), base)
        for _ in range(5):  # a bin's mean square is off by as much as it is high
            weight = np.sqrt(number) / np.maximum(model, 0.05 * base)
            gain, base = (float(c) for c in np.polyfit(at, variance, 1, w=weight))
            model = base + gain * at
        # The structure holds a little noise, which flattens the slope.
        noise = np.mean([(p.floor.structure * p.floor.power()).mean() for p in pieces])
        share = float(np.clip(noise / seen.var(), 0, 0.5)) if seen.var() > 0 else 0.0
        mean = float(np.average(at, weights=number))
        base, gain = base - gain * mean * share / (1 - share), gain / (1 - share)
        if gain < 0:
            base, gain = float(np.average(variance, weights=number)), 0.0
    curves["signal"], curves["variance"], curves["variance_fit"] = at, variance, base + gain * at
    return base, gain


def line_curve(
    pieces: list[Pieces], base: float, gain: float, offsets: bool, curves: dict[str, Array]
) -> tuple[float, float]:
    """Fit the SD of a line's offset: ``line + line_gradient · gradient``."""
    from scipy.optimize import least_squares

    by, squares, through = [], [], []
    for p in pieces:
        gradient = p.gradient
        point = (base + gain * p.seen_by_line) * p.line_share
        by.append(gradient[p.good])
        squares.append(((p.line / np.maximum(p.taper, 1e-3)) ** 2 - point)[p.good])
        through.append(p.along_lines(gradient)[0][p.good])
    whole = float(np.mean([p.whole for p in pieces]))
    value, left = np.concatenate(by), np.concatenate(squares)
    total = float(left.mean()) / whole
    used, label = _bins(value)
    points = base + gain * float(np.mean([p.signal[p.good].mean() for p in pieces]))
    number = len(value) * float(np.mean([p.of_lines.mean() for p in pieces]))
    chance = points * float(np.mean([p.line_share for p in pieces])) / whole * np.sqrt(2 / max(number, 1.0))
    if total <= 4 * chance or len(used) == 0:
        return 0.0, 0.0
    number = np.bincount(label[label >= 0])[used.astype(int)]
    at, variance = _means(label, used, value), _means(label, used, left)
    seen = np.concatenate(through)
    one, two = _means(label, used, seen), _means(label, used, seen**2)
    curves["gradient"], curves["line_sd"] = at, np.sqrt(np.maximum(variance / whole, 0))
    line, slope = float(np.sqrt(total)), 0.0
    if not offsets and len(used) > 2:
        weight = np.sqrt(number) / np.maximum(variance, 0.2 * left.mean())
        scale = float(at.max()) or 1.0

        def off(c: Array) -> Array:
            slope = c[1] / scale
            model = whole * (c[0] ** 2 + 2 * c[0] * slope * one + slope**2 * two)
            out: Array = (model - variance) * weight
            return out

        fit = least_squares(off, [line, 0.3 * line], bounds=([0, 0], [np.inf, np.inf]), x_scale=line)
        line, slope = float(fit.x[0]), float(fit.x[1] / scale)
        if (line + slope * float(value.mean())) ** 2 <= 4 * chance:
            return 0.0, 0.0
    curves["line_sd_fit"] = line + slope * at
    return line, slope


def spectra(
    pieces: list[Pieces], variance: float, spread: list[Array], length: float, curves: dict[str, Array]
) -> None:
    """Spectra beside the fit's: over |k| without structure, and of the noise of lines along them."""
    shape: tuple[int, int] = pieces[0].taper.shape
    ky, kx = (np.abs(k) for k in frequencies(shape))
    columns = shape[1]
    ring = np.minimum((np.hypot(ky, kx) * 96).astype(int), 47)
    expected = np.mean([line_spectrum(p.taper, sd, length) for p, sd in zip(pieces, spread, strict=True)], axis=0)
    fit = variance * pieces[0].floor.transfer() + expected[None, :]
    sums, fits, number = np.zeros(48), np.zeros(48), np.zeros(48)
    for p in pieces:
        bare = ~p.floor.structure
        sums += np.bincount(ring[bare], p.power[bare], 48)
        fits += np.bincount(ring[bare], fit[bare], 48)
        number += np.bincount(ring[bare], minlength=48)
    held = number > 20
    curves["frequency"] = (np.flatnonzero(held) + 0.5) / 96
    curves["power"], curves["power_fit"] = sums[held] / number[held], fits[held] / number[held]
    half = slice(0, columns // 2)
    curves["along"] = kx[0, half]
    curves["ridge"] = np.maximum(np.mean([p.floor.ridge for p in pieces], axis=0)[half], 0)
    curves["ridge_fit"] = expected[half]


def tail_of(pieces: list[Pieces], base: float, gain: float, readout: float) -> float:
    """Shape of the readout noise, from the fourth cumulant; 0.14 (normal) where too little can be said."""
    level = float(np.mean([p.signal[p.good].mean() for p in pieces]))
    if readout**2 < 0.3 * (base + gain * level):
        return 0.14
    excess, number = 0.0, 0
    for p in pieces:
        expected = np.maximum(base + gain * p.seen, 0)[p.good] * p.point_share
        value = (p.point[p.good] / p.taper[p.good]) ** 2
        excess += float((value**2 - 3 * expected**2).sum())
        number += int(p.good.sum())
    fourth = float(np.mean([p.fourth for p in pieces]))
    of_counts = gain**3 * max(level + min(base, 0.0) / gain, 0.0) if gain > 0 else 0.0
    kurtosis = (excess / number / fourth - of_counts) / readout**4
    variance = base + gain * level
    error = np.sqrt(24 / number) * (variance * np.mean([p.point_share for p in pieces])) ** 2 / fourth / readout**4
    if abs(kurtosis) < 4 * error:
        return 0.14
    shapes = np.linspace(-0.15, 0.9, 106)
    return float(np.interp(-kurtosis, [-_excess(s) for s in shapes], shapes))


def _excess(shape: float) -> float:
    """Excess kurtosis of Tukey's lambda distribution."""
    p = (np.arange(20000) + 0.5) / 20000
    p = 0.5 * (1 - np.cos(np.pi * p))  # denser at the ends
    weight = np.gradient(p)
    value = np.log(p / (1 - p)) if abs(shape) < 1e-6 else (p**shape - (1 - p) ** shape) / shape
    second = (weight * value**2).sum() / weight.sum()
    return float((weight * value**4).sum() / weight.sum() / second**2 - 3)
