"""Density control: Gaussians come and go, the mass and what the views show of it stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatom.data import GaussianCloud
from splatom.geometry import ViewGeometry
from splatom.operators.cloud import clone, covariances, is_isotropic, merge_near, principal, prune, split
from splatom.operators.gaussian import GaussianProjector


def cloud(n: int = 30, isotropic: bool = False, seed: int = 0) -> GaussianCloud:
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.1, 0.3, (n, 3))
    if isotropic:
        scales[:] = scales[:, :1]
    q = rng.normal(size=(n, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return GaussianCloud(
        rng.uniform(-1, 1, (n, 3)), scales, rng.uniform(1, 2, n), None if isotropic else q,
        ids=rng.permutation(n) + 100, uncertainty=rng.random(n), species=np.array(["Au", "Pt"] * (n // 2)),
    )  # fmt: skip


def moments(c: GaussianCloud) -> tuple[float, np.ndarray, np.ndarray]:
    m, x = c.mass.astype(float), c.centres_zyx.astype(float)
    second = covariances(c) + x[:, :, None] * x[:, None, :]
    return m.sum(), m @ x, np.einsum("n,nij->ij", m, second)


def same_moments(one: GaussianCloud, two: GaussianCloud, up_to: int) -> None:
    for a, b in list(zip(moments(one), moments(two), strict=True))[: up_to + 1]:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def test_covariances_and_principal_axes_are_inverse() -> None:
    c = cloud()
    again = c.with_(**dict(zip(("scales", "rotations"), principal(covariances(c)), strict=True)))
    np.testing.assert_allclose(covariances(again), covariances(c), atol=1e-7)
    assert np.allclose(np.linalg.det(covariances(c)), c.scales.prod(1) ** 2, rtol=1e-4)


def test_a_quaternion_turns_the_axes_as_it_turns_vectors() -> None:
    half = np.sqrt(0.5)  # a quarter turn about z takes x to y
    turned = GaussianCloud(np.zeros((1, 3)), np.array([[0.1, 0.2, 0.3]]), np.ones(1), np.array([[half, 0, 0, half]]))
    np.testing.assert_allclose(covariances(turned)[0], np.diag([0.01, 0.09, 0.04]), atol=1e-7)


def test_clones_share_the_mass_about_the_old_centre() -> None:
    c = cloud()
    out = clone(c, [3, 7], steps=[[0.1, 0, 0], [0, 0.2, 0]])
    same_moments(c, out, 1)
    assert len(out) == 32
    np.testing.assert_allclose(out.centres_zyx[30] - out.centres_zyx[3], [0.2, 0, 0], atol=1e-6)
    assert np.array_equal(out.ids[:30], c.ids)
    assert out.ids[30:].tolist() == [130, 131]
    assert np.isnan(out.uncertainty[[3, 7, 30, 31]]).all()
    assert out.species[30] == c.species[3]
    same_moments(c, clone(c, np.arange(30) < 5), 1)


def test_a_split_keeps_mass_centre_and_second_moments() -> None:
    c = cloud()
    out = split(c, c.mass > 1.5)
    assert len(out) == 30 + int((c.mass > 1.5).sum())
    same_moments(c, out, 2)
    assert len(set(out.ids.tolist())) == len(out)
    with pytest.raises(ValueError, match="apart"):
        split(c, [0], apart=1.5)


def test_a_split_is_hardly_seen_in_any_view() -> None:
    c = cloud(12)
    p = GaussianProjector(ViewGeometry.single_axis([-60.0, 0, 35]), (80, 80), 0.05)
    before, after = (
        p(*(torch.from_numpy(np.array(a, np.float32)) for a in (x.centres_zyx, covariances(x), x.mass)))
        for x in (c, split(c, np.arange(12)))
    )
    assert float((after - before).abs().max()) < 0.06 * float(before.max())
    torch.testing.assert_close(after.sum((1, 2)), before.sum((1, 2)), rtol=1e-4, atol=0)


def test_pruned_mass_goes_to_the_nearest_or_is_lost() -> None:
    c = cloud()
    faint = c.mass < 1.3
    out = prune(c, faint)
    assert out.mass.sum() == pytest.approx(c.mass.sum(), rel=1e-6)
    assert np.array_equal(out.ids, c.ids[~faint])
    lost = prune(c, faint, give=False)
    assert np.array_equal(lost.mass, c.mass[~faint])
    assert len(prune(c, np.ones(30, bool))) == 0


@pytest.mark.parametrize("isotropic", [True, False])
def test_a_merge_keeps_mass_and_centre_and_second_moments(isotropic) -> None:
    c = cloud(isotropic=isotropic)
    out = merge_near(c, 0.6)
    assert 5 < len(out) < len(c)
    same_moments(c, out, 1)
    total, full = (np.trace(moments(x)[2]) if isotropic else moments(x)[2] for x in (out, c))
    np.testing.assert_allclose(total, full, rtol=1e-5, atol=1e-4)
    assert is_isotropic(out) is isotropic
    assert set(out.ids) < set(c.ids)
    alone = ~np.isnan(out.uncertainty)
    kept = np.isin(c.ids, out.ids[alone])
    assert np.array_equal(out.centres_zyx[alone], c.centres_zyx[kept])


def test_the_heaviest_of_a_pair_keeps_its_name_and_a_chain_does_not_collapse() -> None:
    x = np.array([[0, 0, 0.0], [0, 0, 0.1], [0, 0, 0.2], [0, 0, 0.3], [0, 0, 5.0]])
    c = GaussianCloud(x, np.full((5, 3), 0.1), np.array([1.0, 2, 1, 1, 1]), ids=[9, 8, 7, 6, 5])
    out = merge_near(c, 0.15)
    assert out.ids.tolist() == [8, 6, 5]
    np.testing.assert_allclose(out.mass, [4, 1, 1])
    np.testing.assert_allclose(out.centres_zyx[:, 2], [0.1, 0.3, 5.0], atol=1e-6)
    assert merge_near(out, 0.01) is out
