"""Atoms as Gaussians in the images of a tilt series: the model, its derivative and the adjoint of that.

The image of a view v is gain_v · h ∗ Σ m_i N₂(pixel; P_v x_i + shift_v, w_c²) + background_v: an atom i is a Gaussian
of mass m_i and of the width w_c of its class c, and h is a radial filter close to one that takes up what the image of
an atom has that a Gaussian has not (its tails). The background is a number, or a smooth sum of cosines. Lengths are
working pixels about the centre of the field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.operators.gaussian import GaussianProjector

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.geometry import ViewGeometry

__all__ = ["CALIBRATION", "Linear", "Model", "State", "Vector", "cosines"]

# A direction in the space of the unknowns: those that are not named do not move.
Vector = dict[str, "Tensor"]

CALIBRATION = ("shifts", "turns", "log_gain", "background")
_FILTER_BINS = 40
_WINDOW = 15  # pixels over which the strength of the noise is averaged


@dataclass(frozen=True, eq=False)
class State:
    """All unknowns of the fit, float32.

    Parameters
    ----------
    centres : Tensor (n, 3)
        (z, y, x) in working pixels about the centre of the field.
    mass : Tensor (n,)
        Integrated intensity in pixel².
    ids : Tensor (n,) of int64
    klass : Tensor (n,) of int64
        Class of every atom, 0 to k − 1.
    log_width : Tensor (k,)
        Logarithm of each class's σ in pixels.
    shifts : Tensor (v, 2)
        Correction of each view's shift, (column, row) in pixels.
    turns : Tensor (v, 3)
        Correction of each view's rotation in rad, as a rotation vector in the view's frame.
    log_gain : Tensor (v,)
    background : Tensor (v, k)
        Coefficients of the smooth images of :func:`cosines`.
    """

    centres: Tensor
    mass: Tensor
    ids: Tensor
    klass: Tensor
    log_width: Tensor
    shifts: Tensor
    turns: Tensor
    log_gain: Tensor
    background: Tensor

    def __len__(self) -> int:
        return len(self.mass)

    @property
    def sigma(self) -> Tensor:
        """Width of every atom in pixels, (n,)."""
        return self.log_width.exp()[self.klass]

    def with_(self, **changes: Any) -> State:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)

    def keep(self, which: Tensor) -> State:
        """Return the state with some of the atoms (a mask or indices)."""
        return replace(self, **{k: getattr(self, k)[which] for k in ("centres", "mass", "ids", "klass")})

    def add(self, centres: Tensor, mass: Tensor, klass: int = 0) -> State:
        """Return the state with further atoms, which get new ids."""
        first = int(self.ids.max()) + 1 if len(self) else 0
        n = len(mass)
        return replace(
            self,
            centres=torch.cat([self.centres, centres.to(self.centres)]),
            mass=torch.cat([self.mass, mass.to(self.mass)]),
            ids=torch.cat([self.ids, torch.arange(first, first + n, device=self.ids.device)]),
            klass=torch.cat([self.klass, torch.full((n,), klass, dtype=torch.int64, device=self.klass.device)]),
        )

    def arrays(self) -> dict[str, Any]:
        """Return all unknowns as numpy arrays, for a checkpoint."""
        return {f.name: getattr(self, f.name).cpu().numpy() for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any], device: str) -> State:
        """Inverse of :meth:`arrays`."""
        return cls(**{f.name: torch.from_numpy(np.array(arrays[f.name])).to(device) for f in fields(cls)})


class Model:
    """The measured images and how atoms appear in them.

    Parameters
    ----------
    geometry : ViewGeometry
        Shifts in working pixels.
    data : Tensor (v, rows, columns)
    weights : Tensor (v, rows, columns)
        Zero where nothing was measured. The mean over the measured pixels is one.
    device : str
    check : callable
        Called inside long passes; what it raises stops them.
    wavelength : float
        Shortest period of the background, pixels; infinite for an even one.
    """

    def __init__(
        self,
        geometry: ViewGeometry,
        data: Tensor,
        weights: Tensor,
        device: str,
        check: Callable[[], None],
        wavelength: float = float("inf"),
    ) -> None:
        rows, columns = data.shape[1:]
        self.data, self.weights, self.check = data, weights, check
        self.projector = GaussianProjector(geometry, (rows, columns), 1.0, device=device)
        self.rotations = torch.as_tensor(np.array(geometry.rotations), dtype=torch.float32, device=device)
        self.filter: Tensor | None = None
        self.smooth = cosines((rows, columns), wavelength).to(device)
        y, x = torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)[None]
        self.frequency = torch.hypot(y, x).to(device)
        self.ring = (self.frequency * 2 * _FILTER_BINS).long().clamp_(max=_FILTER_BINS).flatten()

    def filtered(self, images: Tensor) -> Tensor:
        """Convolve images with h; its own adjoint."""
        if self.filter is None:
            return images
        out: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * self.filter, s=images.shape[1:])
        return out

    def background(self, coefficients: Tensor) -> Tensor:
        """Return the background (v, rows, columns) of coefficients (v, k)."""
        return torch.einsum("vk,krc->vrc", coefficients, self.smooth)

    def rings(self, values: Tensor) -> Tensor:
        """Sum half spectra (v, rows, frequencies) over rings of one frequency."""
        return torch.bincount(self.ring, values.sum(0).flatten().double(), minlength=_FILTER_BINS + 1)

    def learn_filter(self, linear: Linear, noise: float) -> State:
        """Set h to the radial transfer function of least squares, drawn towards one where there is no signal.

        Parameters
        ----------
        linear : Linear
        noise : float
            Variance of a pixel.

        Returns
        -------
        State
            With the widths that the images ask for: the Gaussian part of the transfer function; h is the rest.
        """
        state = linear.state
        wanted = (self.data - self.background(state.background)) / state.log_gain.exp()[:, None, None]
        measured = self.weights > 0
        drawn = torch.fft.rfft2(torch.where(measured, linear.drawn, 0.0))
        found = torch.fft.rfft2(torch.where(measured, wanted, 0.0))
        power, cross = self.rings(drawn.abs().square()), self.rings((drawn.conj() * found).real)
        floor = torch.bincount(self.ring, minlength=_FILTER_BINS + 1) * noise * float(measured.sum())
        ratio = (cross + floor) / (power + floor).clamp_min(1e-30)
        ratio[0] = ratio[1]  # at frequency zero the background and the mean mass mix
        # The masses keep the mean of it: h says how the image of an atom looks, not how bright it is.
        ratio = (ratio / ((ratio * power).sum() / power.sum().clamp_min(1e-30))).clamp_(0.1, 10.0)
        at = (torch.arange(_FILTER_BINS + 1, device=ratio.device) + 0.5) / (2 * _FILTER_BINS)
        # log ratio ≈ a − 2π²f² Δσ²: a straight line in f², weighted by the signal.
        weight, f2 = power * (power > floor), at.square()
        mean = (weight * f2).sum() / weight.sum().clamp_min(1e-30)
        off = f2 - mean
        slope = (weight * off * ratio.log()).sum() / (weight * off.square()).sum().clamp_min(1e-30)
        var = (2 * state.log_width).exp()
        wider = (var - slope / (2 * torch.pi**2)).clamp(min=0.5 * var, max=2 * var)
        change = float((wider - var).mean())
        ratio = ratio * torch.exp(2 * torch.pi**2 * change * f2)
        ratio = (ratio / ((ratio * power).sum() / power.sum().clamp_min(1e-30))).clamp_(0.3, 3.0)
        curve = np.interp(self.frequency.cpu().numpy(), at.numpy(), ratio.cpu().numpy())
        self.filter = torch.as_tensor(curve, dtype=torch.float32, device=self.data.device)
        return state.with_(log_width=wider.log() / 2)

    def at(self, state: State) -> Linear:
        """Return the model at a state: images, residual, loss, and the derivative."""
        return Linear(self, state)


class Linear:
    """The model at one state, linearised.

    Parameters
    ----------
    model : Model
    state : State
    """

    def __init__(self, model: Model, state: State) -> None:
        self.model, self.state = model, state
        self._inputs: Vector = {
            "centres": state.centres.detach().requires_grad_(),
            "log_width": state.log_width.detach().requires_grad_(),
            "mass": state.mass.detach().requires_grad_(),
            "shifts": state.shifts.detach().requires_grad_(),
            "turns": state.turns.detach().requires_grad_(),
        }
        p = self._inputs
        with torch.enable_grad():
            self._graph = model.projector(
                p["centres"], p["log_width"].exp()[state.klass], p["mass"], shifts=p["shifts"], turns=p["turns"],
                tick=model.check,
            )  # fmt: skip
        self.drawn = self._graph.detach()
        self.gain = state.log_gain.exp()[:, None, None]
        self.seen = self.gain * model.filtered(self.drawn)
        self.residual = self.seen + model.background(state.background) - model.data
        self.loss = 0.5 * float((model.weights * self.residual.square()).sum(dtype=torch.float64))

    def forward(self, d: Vector) -> Tensor:
        """Return J d, (v, rows, columns)."""
        s, zero = self.state, torch.zeros_like
        width = s.log_width.exp()
        d_sigma = (width * d["log_width"])[s.klass] if "log_width" in d else zero(s.mass)
        out = self.model.projector.tangent(
            s.centres, s.sigma, s.mass, d.get("centres", zero(s.centres)), d_sigma, d.get("mass", zero(s.mass)),
            shifts=s.shifts, turns=s.turns, d_shifts=d.get("shifts"), d_turns=d.get("turns"), tick=self.model.check,
        )  # fmt: skip
        out = self.gain * self.model.filtered(out)
        if "log_gain" in d:
            out += d["log_gain"][:, None, None] * self.seen
        if "background" in d:
            out += self.model.background(d["background"])
        return out

    def noise_where_atoms_are(self) -> float:
        """Return the residual's power at the frequencies that place atoms, in its mean power: 1 if it is white.

        Errors as long as atoms are weigh more against a penalty than the same variance of white noise would.
        """
        frequency = self.model.frequency
        left = torch.fft.rfft2(self.model.weights.sqrt() * self.residual).abs().square().sum(0)
        telling = torch.fft.rfft2(self.drawn).abs().square().sum(0) * frequency.square()
        found = float((left * telling).sum() / telling.sum().clamp_min(1e-30) / left.mean().clamp_min(1e-30))
        return max(found, 1.0)

    def like_residual(self, white: Tensor) -> Tensor:
        """Give white noise (v, rows, columns) the residual's spectrum and local strength, mean variance 1.

        Smoothed images have noise of the length of an atom, which moves atoms more than white noise does; counted
        electrons make bright pixels noisier than the empty ones.
        """
        weights = self.model.weights
        root = weights.sqrt()
        power = self.model.rings(torch.fft.rfft2(root * self.residual).abs().square())
        count = self.model.rings(torch.ones_like(self.model.frequency)[None])
        power = power / count.clamp_min(1.0)
        even = float((power * count).sum() / count.sum())
        shape = (power / max(even, 1e-30)).sqrt()[self.model.ring].view(self.model.frequency.shape).float()
        drawn = torch.fft.irfft2(torch.fft.rfft2(white) * shape, s=white.shape[1:])
        measured = (weights > 0).float()
        strength = _pooled(weights * self.residual.square()) / _pooled(measured).clamp_min(1e-3)
        usual = float((strength * measured).sum() / measured.sum())
        scale = (strength / max(usual, 1e-30)).sqrt() * weights.clamp_min(1e-12).rsqrt()
        out: Tensor = drawn * torch.where(weights > 0, scale, 0.0)
        return out

    def adjoint(self, images: Tensor, names: tuple[str, ...]) -> Vector:
        """Return Jᵀ W images for the named unknowns."""
        images = self.model.weights * images
        drawn = [k for k in names if k in self._inputs]
        pulled = torch.autograd.grad(
            self._graph, [self._inputs[k] for k in drawn], self.model.filtered(self.gain * images), retain_graph=True
        )
        out = dict(zip(drawn, pulled, strict=True))
        if "log_gain" in names:
            out["log_gain"] = (images * self.seen).sum((1, 2))
        if "background" in names:
            out["background"] = torch.einsum("vrc,krc->vk", images, self.model.smooth)
        return out


def _pooled(images: Tensor) -> Tensor:
    """Average images (v, rows, columns) over windows of some atoms' width."""
    out: Tensor = torch.nn.functional.avg_pool2d(images[:, None], _WINDOW, 1, _WINDOW // 2)[:, 0]
    return out


def cosines(shape: tuple[int, int], wavelength: float) -> Tensor:
    """Return cosines (k, rows, columns) of no shorter period than a wavelength in pixels, the constant 1 first."""

    def along(n: int) -> list[Tensor]:
        return [torch.cos(torch.pi * k * (torch.arange(n) + 0.5) / n) for k in range(int(2 * n / wavelength) + 1)]

    return torch.stack([torch.outer(r, c) for r in along(shape[0]) for c in along(shape[1])])
