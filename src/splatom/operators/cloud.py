"""Surgery on clouds of Gaussians: clone, split, prune and merge, with the mass conserved.

Pure functions: a new cloud comes out. Gaussians that live on keep their id, new ones get ids never seen in the cloud.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import GaussianCloud

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Float = NDArray[np.float64]

__all__ = ["clone", "covariances", "is_isotropic", "merge_near", "principal", "prune", "split"]


# ------------------------------------------------------------------------------------------------ shape
def is_isotropic(cloud: GaussianCloud) -> bool:
    """Whether every Gaussian of the cloud is as wide in all directions."""
    return bool((cloud.scales == cloud.scales[:, :1]).all())


def covariances(cloud: GaussianCloud) -> Float:
    """Return the covariances (n, 3, 3) in nm², order z, y, x.

    A quaternion turns the principal axes, which lie along z, y and x before, as it turns vectors (x, y, z).
    """
    turned = _axes(cloud)
    squares = cloud.scales[:, ::-1].astype(np.float64) ** 2
    xyz: Float = np.einsum("nij,nj,nkj->nik", turned, squares, turned)
    return xyz[:, ::-1, ::-1]


def _axes(cloud: GaussianCloud) -> Float:
    """Rotation matrices (n, 3, 3) acting on (x, y, z): column j is the principal axis that was x, y or z."""
    w, x, y, z = (cloud.rotations.astype(np.float64) / np.linalg.norm(cloud.rotations, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def principal(covariance_zyx: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scales (n, 3) in nm and quaternions (n, 4) of covariances (n, 3, 3): the inverse of `covariances`."""
    from scipy.spatial.transform import Rotation

    cov = np.asarray(covariance_zyx, dtype=np.float64)[:, ::-1, ::-1]
    squares, axes = np.linalg.eigh((cov + cov.transpose(0, 2, 1)) / 2)
    axes[:, :, 0] *= np.sign(np.linalg.det(axes))[:, None]  # a rotation, not a reflection
    x, y, z, w = Rotation.from_matrix(axes).as_quat().T
    scales = np.sqrt(np.maximum(squares, 0))[:, ::-1]  # principal axes x, y, z → z, y, x
    return scales.astype(np.float32), np.stack([w, x, y, z], 1).astype(np.float32)


# ------------------------------------------------------------------------------------------------ more
def _chosen(which: ArrayLike, n: int) -> NDArray[np.int64]:
    which = np.asarray(which)
    if which.dtype == bool:
        if which.shape != (n,):
            raise ValueError(f"the mask has shape {which.shape}, the cloud {n} Gaussians")
        which = np.flatnonzero(which)
    return np.unique(which.astype(np.int64))


def _columns(cloud: GaussianCloud) -> dict[str, Any]:
    names = ("centres_zyx", "scales", "mass", "rotations", "ids", "uncertainty", "species")
    return {name: np.array(value) for name in names if (value := getattr(cloud, name)) is not None}


def _doubled(cloud: GaussianCloud, chosen: NDArray[np.int64], steps: Float, scales: Any) -> GaussianCloud:
    """Replace each chosen Gaussian by two of half its mass, steps before and behind its centre."""
    old = _columns(cloud)
    new = {name: value[chosen] for name, value in old.items()}
    for part, way in ((old, -1), (new, 1)):
        at = chosen if way < 0 else slice(None)
        part["centres_zyx"][at] = cloud.centres_zyx[chosen] + way * steps
        part["mass"][at] = cloud.mass[chosen] / 2
        part["scales"][at] = scales
        if "uncertainty" in part:
            part["uncertainty"][at] = np.nan  # of something that is no more
    new["ids"] = cloud.ids.max(initial=-1) + 1 + np.arange(len(chosen))
    return cloud.with_(**{name: np.concatenate([old[name], new[name]]) for name in old})


def _longest(cloud: GaussianCloud, chosen: NDArray[np.int64]) -> tuple[Float, NDArray[np.int64]]:
    """Return the longest half-axis (k, 3; z, y, x) in nm of each chosen Gaussian, and which of its scales it is."""
    scales = cloud.scales[chosen]
    which = scales.argmax(1)
    axis = _axes(cloud)[chosen, :, 2 - which]  # (k, 3) as x, y, z
    return axis[:, ::-1] * scales[np.arange(len(chosen)), which, None], which


def clone(cloud: GaussianCloud, which: ArrayLike, steps: ArrayLike | None = None) -> GaussianCloud:
    """Put two Gaussians of half the mass and the same width in the place of each chosen one.

    Parameters
    ----------
    cloud : GaussianCloud
    which : array
        A mask, or indices.
    steps : array (k, 3), optional
        The two lie this far before and behind the old centre, in nm (z, y, x); a quarter of the longest axis by
        default. The centre of mass stays.

    Returns
    -------
    GaussianCloud
        The first of each pair in the old one's place and with its id, the second ones at the end.
    """
    chosen = _chosen(which, len(cloud))
    displaced = _longest(cloud, chosen)[0] / 4 if steps is None else np.asarray(steps, dtype=np.float64)
    return _doubled(cloud, chosen, displaced, cloud.scales[chosen])


def split(cloud: GaussianCloud, which: ArrayLike, apart: float = 0.6) -> GaussianCloud:
    """Cut each chosen Gaussian in two along its longest axis, with mass, centre and second moments conserved.

    Parameters
    ----------
    cloud : GaussianCloud
    which : array
        A mask, or indices.
    apart : float
        The halves lie this fraction of the standard deviation before and behind the old centre; the width along the
        axis shrinks by √(1 − apart²).

    Returns
    -------
    GaussianCloud
        As of :func:`clone`. The halves of an isotropic Gaussian are no longer isotropic.
    """
    if not 0 < apart < 1:
        raise ValueError(f"apart is {apart}; it has to lie between 0 and 1")
    chosen = _chosen(which, len(cloud))
    axis, longest = _longest(cloud, chosen)
    scales = np.array(cloud.scales[chosen])
    scales[np.arange(len(chosen)), longest] *= np.sqrt(1 - apart**2)
    return _doubled(cloud, chosen, apart * axis, scales)


# ------------------------------------------------------------------------------------------------ fewer
def prune(cloud: GaussianCloud, which: ArrayLike, give: bool = True) -> GaussianCloud:
    """Take the chosen Gaussians away.

    Parameters
    ----------
    cloud : GaussianCloud
    which : array
        A mask, or indices, of those to go.
    give : bool
        Give their mass to the nearest that stay. Without this the mass is lost, as it should be where there was
        nothing.
    """
    from scipy.spatial import KDTree

    gone = _chosen(which, len(cloud))
    stays = np.ones(len(cloud), bool)
    stays[gone] = False
    columns = {name: value[stays] for name, value in _columns(cloud).items()}
    if give and len(gone) and stays.any():
        nearest = KDTree(cloud.centres_zyx[stays]).query(cloud.centres_zyx[gone])[1]
        total = columns["mass"].astype(np.float64)
        np.add.at(total, nearest, cloud.mass[gone].astype(np.float64))
        columns["mass"] = total
    return cloud.with_(**columns)


def merge_near(cloud: GaussianCloud, distance: float, isotropic: bool | None = None) -> GaussianCloud:
    """Merge each Gaussian into the heaviest one nearby, with mass, centre of mass and second moments conserved.

    From the heaviest on, each takes up those within ``distance`` of it that no heavier one has taken: a chain of close
    neighbours does not collapse into one.

    Parameters
    ----------
    cloud : GaussianCloud
    distance : float
        In nm.
    isotropic : bool, optional
        Make the merged ones isotropic (the trace of the second moments is conserved). By default if the cloud is.

    Returns
    -------
    GaussianCloud
        The heaviest of each group keeps its id, its species and its place in the order.
    """
    from scipy.spatial import KDTree

    if len(cloud) < 2:
        return cloud
    pairs = KDTree(cloud.centres_zyx).query_pairs(distance, output_type="ndarray")
    if not len(pairs):
        return cloud
    neighbours: dict[int, list[int]] = {}
    for a, b in pairs.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    group = np.arange(len(cloud))  # of each Gaussian: the index of the one that takes it up
    free = np.ones(len(cloud), bool)
    for i in sorted(neighbours, key=lambda k: (-cloud.mass[k], k)):
        if free[i]:
            for j in neighbours[i]:
                if free[j]:
                    group[j], free[j] = i, False
            free[i] = False
    return _merged(cloud, group, is_isotropic(cloud) if isotropic is None else isotropic)


def _merged(cloud: GaussianCloud, group: NDArray[np.int64], isotropic: bool) -> GaussianCloud:
    stays, label = np.unique(group, return_inverse=True)
    count = np.bincount(label)
    mass = np.maximum(cloud.mass.astype(np.float64), 0)
    share = mass / np.bincount(label, mass)[label].clip(1e-300)
    share = np.where(np.bincount(label, mass)[label] > 0, share, 1 / count[label])
    centres = cloud.centres_zyx.astype(np.float64)
    middle = np.stack([np.bincount(label, share * centres[:, k]) for k in range(3)], 1)
    off = centres - middle[label]
    second = share[:, None, None] * (covariances(cloud) + off[:, :, None] * off[:, None, :])
    cov = np.zeros((len(stays), 3, 3))
    np.add.at(cov, label, second)
    columns = {name: value[stays] for name, value in _columns(cloud).items()}
    many = count > 1
    columns["mass"] = np.bincount(label, cloud.mass.astype(np.float64))
    columns["centres_zyx"][many] = middle[many]
    if isotropic:
        columns["scales"][many] = np.sqrt(np.trace(cov[many], axis1=1, axis2=2) / 3)[:, None]
        columns["rotations"][many] = (1, 0, 0, 0)
    else:
        columns["scales"][many], columns["rotations"][many] = principal(cov[many])
    if "uncertainty" in columns:
        columns["uncertainty"][many] = np.nan  # of something that is no more
    return cloud.with_(**columns)
