"""Columns of atoms as local maxima of an image, against those that are there: F1 within 0.5 Å."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from _micrographs import Micrograph

WITHIN = 0.5  # Å
WEAK = {"haadf": 0.25, "bf": 0.1, "hrtem": 0.1}  # of the strongest column: weaker ones count neither way


def peaks(image: NDArray[np.float32], distance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places (n, 2), row and column, of the maxima within a distance in pixels, and heights, highest first."""
    from skimage.feature import peak_local_max

    at = peak_local_max(image, min_distance=max(1, round(distance)), exclude_border=False)
    wide = np.pad(image.astype(np.float64), 1, mode="edge")
    places = at.astype(np.float64)
    for axis in (0, 1):  # a parabola through the maximum and its neighbours
        step = np.eye(2, dtype=int)[axis]
        low, mid, high = (wide[tuple((at + 1 + s * step).T)] for s in (-1, 0, 1))
        bend = low - 2 * mid + high
        places[:, axis] += np.where(bend < 0, np.clip((low - high) / 2 / np.where(bend < 0, bend, -1), -0.5, 0.5), 0)
    heights = image[tuple(at.T)].astype(np.float64)
    order = np.argsort(-heights, kind="stable")
    return places[order], heights[order]


def _f1s(places: NDArray[np.float64], truth: Micrograph) -> NDArray[np.float64]:
    """Return F1 of the first 1, 2, … places. Each column is found by one place at most."""
    from scipy.spatial import cKDTree

    assert truth.columns is not None
    assert truth.strength is not None
    wanted = truth.strength >= WEAK[truth.modality]
    near = cKDTree(truth.columns).query_ball_point(places, WITHIN / truth.pixel) if len(places) else []
    taken = np.zeros(len(truth.columns), bool)
    hit, wrong = np.zeros(len(places)), np.zeros(len(places))
    for k, found in enumerate(near):
        free = [j for j in found if not taken[j]]
        if free:
            j = min(free, key=lambda j: float(np.sum((truth.columns[j] - places[k]) ** 2)))
            taken[j] = True
            hit[k] = wanted[j]
        else:
            wrong[k] = 1
    hits, wrongs = np.cumsum(hit), np.cumsum(wrong)
    return 2 * hits / (hits + wrongs + wanted.sum())


def best_f1(image: NDArray[np.float32], truth: Micrograph) -> float:
    """Return F1 of an image's maxima above the threshold that is best for it: the truth's gift."""
    places, _ = peaks(image, WITHIN / truth.pixel)
    return float(max(_f1s(places, truth), default=0.0))


def f1_of_map(dots: NDArray[np.float32], truth: Micrograph) -> float:
    """Return F1 of the columns that Splatom finds in a network's map, at the threshold that it chooses itself."""
    from splatom.evaluate.columns import find_columns, usual_distance, usual_threshold

    threshold = usual_threshold(dots, phase=truth.modality == "hrtem")
    scores = _f1s(find_columns(dots, threshold, max(WITHIN / truth.pixel, usual_distance(dots))), truth)
    return float(scores[-1]) if len(scores) else 0.0
