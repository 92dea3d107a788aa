"""After the lattice: Gaussians that move, stretch and turn, with a few of them split and the lightest pruned.

The loss is that of the lattice fit, on the cloud voxelised with gradients to centres, covariances and masses; the
total variation is rounded at a hundredth of the matter's value. Steps are Adam's (D. Kingma and J. Ba, ICLR 2015), a
rate for each group of parameters, over all tilts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.data import GaussianCloud

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.methods.reconstruct._denza_lattice import LatticeFit

__all__ = ["NARROWEST", "Refinement"]

NARROWEST = 0.45  # pixels; narrower ones would be heavier on a voxel than between two
_WIDEST, _FARTHEST = 4.0, 1.0  # pixels: of a width, of a step from where a Gaussian began
_RATES = {"centres": 0.02, "scales": 0.02, "turns": 0.02, "masses": 0.01}
_CONTROL_EVERY, _SPLIT_SHARE = 20, 0.01


class Refinement:
    """A running fit of free Gaussians.

    Parameters
    ----------
    lattice : LatticeFit
        Whose problem, noise, gains and smoothing are taken over.
    cloud : GaussianCloud
        Where to begin.
    pixel : float
        In nm.
    state : dict, optional
        What :meth:`state` gave, to go on from.
    """

    def __init__(
        self, lattice: LatticeFit, cloud: GaussianCloud, pixel: float, state: Mapping[str, Any] | None = None
    ) -> None:
        self._lattice, self._pixel = lattice, pixel
        self._shape = lattice.problem.projector.volume_shape
        self.steps, self._next_id = 0, int(cloud.ids.max(initial=0)) + lattice.masses.numel()
        self.take(cloud)
        self._before: GaussianCloud | None = None
        if state is not None:
            self._restore(state)

    # ---------------------------------------------------------------- to and from a cloud
    def take(self, cloud: GaussianCloud) -> None:
        """Go on from a cloud."""
        from splatom.operators.cloud import covariances

        device = self._lattice.masses.device
        squares, axes = np.linalg.eigh(covariances(cloud) / self._pixel**2)

        def tensor(array: Any) -> Tensor:
            return torch.from_numpy(np.array(array, dtype=np.float32)).to(device)

        self._axes = tensor(axes)
        self._home = tensor(cloud.centres_zyx / self._pixel)
        self._ids = np.array(cloud.ids)
        self._values = {
            "centres": torch.zeros_like(self._home),
            "scales": tensor(0.5 * np.log(np.maximum(squares, NARROWEST**2))),
            "turns": torch.zeros_like(self._home),
            "masses": tensor(np.log(np.maximum(cloud.mass / self._pixel**2, 1e-12))),
        }
        self._moments = {name: (torch.zeros_like(v), torch.zeros_like(v)) for name, v in self._values.items()}
        self._age = 0
        self._pull = torch.zeros(len(self._ids), device=device)

    def cloud(self, most: int | None = None) -> GaussianCloud:
        """Return the cloud, or a subsample of about so many."""
        from splatom.operators.cloud import principal

        step = 1 if most is None else max(1, -(-len(self._ids) // most))
        with torch.no_grad():
            centres, spread, masses = (t[::step].cpu().numpy() for t in self._gaussians(self._values))
        scales, rotations = principal(spread * self._pixel**2)
        return GaussianCloud(
            (centres * self._pixel).astype(np.float32), scales, (masses * self._pixel**2).astype(np.float32),
            rotations, self._ids[::step],
        )  # fmt: skip

    @staticmethod
    def _rotation(turns: Tensor) -> Tensor:
        x, y, z = turns.unbind(-1)
        o = torch.zeros_like(x)
        cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).view(-1, 3, 3)
        out: Tensor = torch.linalg.matrix_exp(cross)
        return out

    def _gaussians(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return centres (n, 3), covariances (n, 3, 3) and masses (n,), in pixels."""
        axes = self._rotation(values["turns"]) @ self._axes
        spread = (axes * (2 * values["scales"]).exp()[:, None, :]) @ axes.transpose(1, 2)
        return self._home + values["centres"], spread, values["masses"].exp()

    def density(self, values: Mapping[str, Tensor] | None = None, tick: Callable[[], None] | None = None) -> Tensor:
        """Return the cloud on the voxels (z, y, x), averaged over each: intensity per voxel of path."""
        from splatom.operators.gaussian import voxelise

        centres, spread, masses = self._gaussians(self._values if values is None else values)
        spread = spread + torch.eye(3, device=spread.device) / 12  # a voxel is a box of variance 1/12
        return voxelise(centres, spread, masses, self._shape, 1.0, tick=tick)

    def still_density(self) -> Tensor:
        """Return :meth:`density` without a graph of gradients."""
        with torch.no_grad():
            return self.density()

    @property
    def count(self) -> int:
        """Number of Gaussians."""
        return len(self._ids)

    # ---------------------------------------------------------------- a pass
    def advance(self, weight: float) -> tuple[Tensor, float]:
        """Make one pass; returns the residual and the loss before it."""
        from splatom.operators import project

        lattice, problem = self._lattice, self._lattice.problem
        values = {name: v.clone().requires_grad_() for name, v in self._values.items()}
        density = self.density(values, problem.check)
        residual = problem.data - lattice.gains * project(density, problem.projector)
        loss = 0.5 * (lattice.weights * residual.square()).sum() + weight * self._variation(density)
        loss.backward()  # type: ignore[no-untyped-call]
        self._age += 1
        self.steps += 1
        with torch.no_grad():
            for name, rate in _RATES.items():
                gradient = values[name].grad
                assert gradient is not None
                first, second = self._moments[name]
                first.mul_(0.9).add_(gradient, alpha=0.1)
                second.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
                size = (second / (1 - 0.99**self._age)).sqrt_().add_(1e-12)
                self._values[name] = self._values[name] - rate * (first / (1 - 0.9**self._age)) / size
                if name == "centres":
                    self._pull += gradient.norm(dim=1)
            self._values["centres"].clamp_(-_FARTHEST, _FARTHEST)
            self._values["scales"].clamp_(np.log(NARROWEST), np.log(_WIDEST))
        if self.steps % _CONTROL_EVERY == 0:
            self._control()
        return residual.detach(), float(loss.detach())

    def _variation(self, density: Tensor) -> Tensor:
        rounding = 0.01 * self._lattice.scale
        squares = torch.zeros_like(density)
        for axis in range(3):
            pad = [int(i == 2 * (2 - axis) + 1) for i in range(6)]  # a plane of zeros at the far border
            squares = squares + torch.nn.functional.pad(torch.diff(density, dim=axis), pad).square()
        return (self._lattice.limit * ((squares + rounding**2).sqrt() - rounding)).sum()

    def _control(self) -> None:
        """Split the Gaussians that are pulled most, prune those that weigh nothing; the mass is conserved."""
        from splatom.operators.cloud import prune, split

        cloud = self.cloud()
        count = max(1, int(_SPLIT_SHARE * len(cloud)))
        pulled = np.argsort(self._pull.cpu().numpy())[-count:]
        cloud = split(cloud, pulled)
        light = cloud.mass < 0.002 * np.quantile(cloud.mass, 0.9)
        self.take(prune(cloud, light, give=False) if light.any() else cloud)

    # ---------------------------------------------------------------- the user's hand, checkpoints
    def apply(self, edit: Mapping[str, Any]) -> None:
        """Take one edit by ids, as :class:`Hand` does; an added Gaussian has the median mass and width."""
        if edit.get("undo"):
            if self._before is not None:
                self.take(self._before)
                self._before = None
            return
        self._before = cloud = self.cloud()
        gone = np.isin(cloud.ids, np.array(list(edit.get("delete", ())), dtype=np.int64))
        centres = np.array(cloud.centres_zyx)
        for name, place in dict(edit.get("move", {})).items():
            centres[cloud.ids == int(name)] = place
        kept = cloud.with_(centres_zyx=centres)
        new = np.array(edit.get("add", ()), dtype=np.float32).reshape(-1, 3)
        first = max(self._next_id, int(cloud.ids.max(initial=0)) + 1)  # an id is never used twice
        ids, self._next_id = first + np.arange(len(new)), first + len(new)
        usual = np.median(cloud.mass)
        self.take(
            GaussianCloud(
                np.concatenate([kept.centres_zyx[~gone], new]),
                np.concatenate([kept.scales[~gone], np.full((len(new), 3), np.median(cloud.scales), np.float32)]),
                np.concatenate([kept.mass[~gone], np.full(len(new), usual, np.float32)]),
                np.concatenate([kept.rotations[~gone], np.tile(np.eye(4, dtype=np.float32)[0], (len(new), 1))]),
                np.concatenate([kept.ids[~gone], ids]),
            )
        )

    def state(self) -> dict[str, Any]:
        """Return all arrays and numbers that the next pass needs."""
        arrays = {"axes": self._axes, "home": self._home, "pull": self._pull}
        for name, value in self._values.items():
            arrays |= {name: value, f"{name}_1": self._moments[name][0], f"{name}_2": self._moments[name][1]}
        out: dict[str, Any] = {f"free_{k}": v.cpu().numpy() for k, v in arrays.items()}
        return out | {"free_ids": self._ids, "free_next": self._next_id, "free_age": self._age, "free": self.steps}

    def _restore(self, state: Mapping[str, Any]) -> None:
        def array(name: str) -> Tensor:
            return torch.from_numpy(np.array(state[f"free_{name}"])).to(self._axes.device)

        self._axes, self._home, self._pull = array("axes"), array("home"), array("pull")
        self._values = {name: array(name) for name in _RATES}
        self._moments = {name: (array(f"{name}_1"), array(f"{name}_2")) for name in _RATES}
        self._ids, self._next_id = np.array(state["free_ids"]), int(state["free_next"])
        self._age, self.steps = int(state["free_age"]), int(state["free"])
