"""1-D Gaussian weights for the CPU kernels, compiled by numba: windows, and an exponential that vectorises."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

__all__ = ["HALF", "LANES", "ONE", "TWO_PI", "ZERO", "compiled", "f32", "padded", "ramp", "weights", "window"]

LANES = 8
compiled = numba.njit(fastmath=True, error_model="numpy", nogil=True, cache=True)

f32: Any = np.float32
ZERO, HALF, ONE, TWO_PI = f32(0), f32(0.5), f32(1), f32(2 * math.pi)
_LOG2_E, _LOWEST = f32(1 / math.log(2)), f32(-80.0)
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = (f32(math.log(2) ** k / math.factorial(k)) for k in range(7))


@compiled
def _exp(t):  # type: ignore[no-untyped-def]
    """e^t for t ≤ 0 (no less than e^−80) to 2e-6: 2^whole · 2^fraction, the latter a Taylor polynomial."""
    s = max(t, _LOWEST) * _LOG2_E
    whole = np.int32(s - HALF)
    f = s - f32(whole)
    p = _C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * _C6)))))
    return p * np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled
def window(centre, half, size):  # type: ignore[no-untyped-def]
    """First pixel and number of pixels within half of a centre and inside the image."""
    low, high = centre - half, min(centre + half, f32(size - 1))
    if not (high >= ZERO and low <= high):
        return 0, 0
    # Conversion cuts off: of what is not negative that is the floor. Calls of floor and ceil cost more than the rest.
    first = np.int64(max(low, ZERO))
    if f32(first) < low:
        first += 1
    return first, np.int64(high) - first + 1


@compiled
def padded(count):  # type: ignore[no-untyped-def]
    return np.uintp((count + LANES - 1) // LANES * LANES)


@compiled
def weights(out, steps, count, offset, variance):  # type: ignore[no-untyped-def]
    """Write exp(−(i + offset)²/2variance) for i < count to out, and zeros up to a multiple of eight."""
    h, end = -HALF / variance, f32(count)
    for i in range(padded(count)):
        d = offset + steps[i]
        out[i] = _exp(d * d * h) if steps[i] < end else ZERO


@compiled
def ramp(size):  # type: ignore[no-untyped-def]
    """Return 0, 1, 2 … as float32: conversion inside a loop would keep it from becoming a vector operation."""
    out = np.empty(size + LANES, np.float32)
    for i in range(size + LANES):
        out[i] = f32(i)
    return out
