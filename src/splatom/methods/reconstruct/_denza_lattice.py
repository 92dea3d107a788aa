"""The masses of Gaussians on a lattice: a convex problem, solved by preconditioned primal-dual steps.

One isotropic Gaussian of one width sits on every voxel. Its image is linear in its mass, so with B the blur from
masses to density, A the projector, γ the gains of the views and W the inverse variances of the pixels the fit is

    minimise  ½ ‖γ A B m − y‖²_W + λ TV(B m)   over  m ≥ 0.

The steps are those of A. Chambolle and T. Pock, J. Math. Imaging Vis. 40, 120 (2011). Ours: the dual step of the data
term is a filter along the detector's columns that grows with the frequency, as A Aᵀ falls with it (its inverse is the
ramp of back-projection), which converges in some 50 passes where the diagonal steps of `tv` need 600; and λ per voxel
follows the noise that is projected back onto it, √(Aᵀ W 1), so that one weight serves dense and empty places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.methods.reconstruct._denza_kernels import Blur, add_divergence, dual_step
from splatom.methods.reconstruct._denza_noise import amplitude_target, closed_form_gains, noise_model, variances

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.methods.reconstruct._problem import Problem

__all__ = ["LatticeFit"]

# Of primal against dual steps: on particles at 15 and 45 tilts 0.03 and 0.1 converged in 50 passes, 0.3 in 120.
_BALANCE = 0.03
_LONGEST = 30.0
_GAINS_EVERY, _TARGET_EVERY = 5, 10


class LatticeFit:
    """A running fit of masses on the voxels' lattice.

    Parameters
    ----------
    problem : Problem
        Projector, images and weights of the fitted tilts.
    sigma : float
        Standard deviation of the Gaussians in voxels.
    scale : float
        Size of the values to come, in intensity per voxel; sets the balance of the steps.
    start : Tensor (z, y, x), optional
        Masses to begin with.
    state : dict, optional
        What :meth:`state` gave, to go on from.
    """

    def __init__(
        self,
        problem: Problem,
        sigma: float,
        scale: float,
        start: Tensor | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.problem, self.blur, self.scale = problem, Blur(sigma), scale
        data = problem.data
        self.noise = noise_model(problem.measured_data)
        self.variance = variances(data, *self.noise)
        self.weights = problem.weights / self.variance
        self._root = self.weights.sqrt()
        self.limit = self._sensitivity()
        self._precondition()

        def array(name: str, default: Tensor) -> Tensor:
            if state is None or name not in state:
                return default
            return torch.from_numpy(np.array(state[name])).to(data.device)

        self.masses = array("masses", problem.zeros() if start is None else start)
        self.ahead = array("ahead", self.masses.clone())
        self._p = array("p", torch.zeros_like(data))
        self._q = array("q", self.masses.new_zeros((3, *self.masses.shape)))
        self.gains = array("gains", data.new_ones((len(data), 1, 1)))
        self._target = array("target", data)
        self.blocked: Tensor | None = array("blocked", self.masses > 0) if state and "blocked" in state else None
        self.steps = 0 if state is None else int(state["steps"])
        self._density, self._back = torch.empty_like(self.masses), torch.empty_like(self.masses)

    # ---------------------------------------------------------------- before the first pass
    def _sensitivity(self) -> Tensor:
        """√(Aᵀ W 1), what noise is projected back onto each voxel; where nothing is seen, a little."""
        seen = self.problem.adjoint((self.weights + torch.zeros_like(self.problem.data)).contiguous())
        usual = float(seen[seen > 0].median()) if bool((seen > 0).any()) else 1.0
        return seen.clamp_min_(1e-3 * usual).sqrt_()

    def _precondition(self) -> None:
        """Set the steps: the filter of the data's dual variable, its norm by power iteration, and TV's step."""
        problem = self.problem
        n, _, columns = problem.data.shape
        angles = np.unique(np.round(problem.projector.geometry.tilt_degrees, 3))
        gap = float(np.deg2rad(np.median(np.diff(angles)))) if len(angles) > 1 else np.pi
        depth = float(problem.projector.volume_shape[0])
        k = torch.fft.rfftfreq(columns, device=problem.data.device).clamp_min(1e-6)
        overlap = (1 / (k * depth * gap)).clamp(1, n)  # views that measure the same frequency of the specimen
        shape = 1 / (depth * overlap)
        half = shape.sqrt()
        generator = torch.Generator().manual_seed(0)
        v = torch.rand(problem.data.shape, generator=generator).to(problem.data.device)
        # Voxels that are seen with little weight, behind much matter, take longer steps.
        wanted = self.limit.median()
        reach = (wanted / self.limit).square_().clamp_(0.1, _LONGEST)
        norm = 1.0
        for _ in range(8):
            seen = problem.adjoint((self._root * self._filter(v, half)).contiguous())
            seen = problem.forward(seen.mul_(reach))
            v = self._filter(self._root * seen, half)
            norm = float(v.norm())
            v /= max(norm, 1e-30)
        tau = _BALANCE * self.scale / (float(wanted) * 24**0.5)
        self._tau = reach.mul_(tau)
        widest = torch.nn.functional.max_pool3d(self._tau[None, None], 3, 1, 1)[0, 0]
        self._tv_step = 1 / (24 * widest)
        self._filter_step = shape * (0.5 / (tau * 1.1 * max(norm, 1e-30)))

    @staticmethod
    def _filter(data: Tensor, transfer: Tensor) -> Tensor:
        out: Tensor = torch.fft.irfft(torch.fft.rfft(data, dim=-1) * transfer, n=data.shape[-1], dim=-1)
        return out

    # ---------------------------------------------------------------- passes
    def advance(self, weight: float, fourier: float, learn_gains: bool) -> Tensor:
        """Make one pass; returns the residual y − γ A B m of the extrapolated masses.

        Parameters
        ----------
        weight : float
            Of the total variation, relative to the noise.
        fourier : float
            Share of the Fourier-amplitude term in the data term.
        learn_gains : bool
            Whether γ is fitted.
        """
        problem, check = self.problem, self.problem.check
        density = self.blur(self.ahead, self._density, check)
        predicted = problem.forward(density)
        if learn_gains and self.steps % _GAINS_EVERY == 0 and self.steps > 0:
            self.gains = closed_form_gains(predicted, problem.data, self.weights)
        predicted = predicted * self.gains
        residual = problem.data - predicted
        wanted = -residual
        if fourier > 0 and self.steps >= _TARGET_EVERY:
            if self.steps % _TARGET_EVERY == 0:
                self._target = amplitude_target(predicted, problem.data, self.weights, self.variance)
            wanted = wanted.add(self._target - problem.data, alpha=-fourier)
        wanted *= self._root
        spectrum = torch.fft.rfft(self._p, dim=-1) + self._filter_step * torch.fft.rfft(wanted, dim=-1)
        spectrum /= 1 + self._filter_step
        self._p = torch.fft.irfft(spectrum, n=residual.shape[-1], dim=-1)
        dual_step(self._q, density, self._tv_step, weight * self.limit, check)
        back = problem.adjoint((self._p * self._root * self.gains).contiguous(), self._back)
        add_divergence(back, self._q, check)
        new = torch.addcmul(self.masses, self.blur(back, density, check), self._tau, value=-1)
        if problem.non_negative:
            new.clamp_(min=0)
        if self.blocked is not None:
            new.masked_fill_(self.blocked, 0)
        torch.mul(new, 2, out=self.ahead).sub_(self.masses)
        self.masses = new
        self.steps += 1
        return residual

    def density(self) -> Tensor:
        """Return the density on the voxels (z, y, x): intensity per voxel of path."""
        return self.blur(self.masses)

    def keep_as_it_is(self, learn_gains: bool) -> Tensor:
        """Make a pass that fits the gains alone; returns the residual. For the ablation of learnable denza."""
        predicted = self.problem.forward(self.blur(self.masses, self._density, self.problem.check))
        if learn_gains:
            self.gains = closed_form_gains(predicted, self.problem.data, self.weights)
        self.steps += 1
        return self.problem.data - self.gains * predicted

    def misfit(self, density: Tensor) -> float | None:
        """Return the mean weighted square of what held-out tilts leave, a gain fitted to each; None without any."""
        problem = self.problem
        if problem.held_projector is None or problem.held_data is None:
            return None
        weights = 1 / variances(problem.held_data, *self.noise)
        if problem.held_mask is not None:
            weights = weights * problem.held_mask
        predicted = problem.held_projector.forward(density, problem.check)
        cross = (weights * predicted * problem.held_data).sum((1, 2), keepdim=True)
        gain = cross / (weights * predicted * predicted).sum((1, 2), keepdim=True).clamp_min(1e-30)
        return float((weights * (problem.held_data - gain * predicted).square()).mean())

    def loss(self, residual: Tensor) -> float:
        """Return the mean weighted square of a residual: about 1 where the noise alone is left."""
        measured = max(int((self.weights > 0).sum()), 1)
        return float((self.weights * residual.square()).sum(dtype=torch.float64)) / measured

    # ---------------------------------------------------------------- the user's hand, checkpoints
    def replace(self, masses: Tensor, blocked: Tensor | None) -> None:
        """Go on from edited masses; the dual variables are kept, they are near the right ones."""
        self.masses, self.ahead, self.blocked = masses, masses.clone(), blocked

    def state(self) -> dict[str, Any]:
        """Return all arrays and numbers that the next pass needs."""
        arrays = {
            "masses": self.masses, "ahead": self.ahead, "p": self._p, "q": self._q, "gains": self.gains,
            "target": self._target,
        }  # fmt: skip
        if self.blocked is not None:
            arrays["blocked"] = self.blocked
        return {**{k: v.cpu().numpy() for k, v in arrays.items()}, "steps": self.steps, "scale": self.scale}
