"""Atoms as Gaussians in the images of a tilt series: the model, its derivative and the adjoint of that.

The image of a view v is gain_v · h ∗ Σ m_i N₂(pixel; P_v x_i + shift_v, w_c²) + background_v: an atom i is a Gaussian of
mass m_i and of the width w_c of its class c, and h is a radial filter close to one that takes up what the image of an
atom has that a Gaussian has not (its tails). Lengths are working pixels about the centre of the field.
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

__all__ = ["CALIBRATION", "Linear", "Model", "State", "Vector"]

# A direction in the space of the unknowns: those that are not named do not move.
Vector = dict[str, "Tensor"]

CALIBRATION = ("shifts", "turns", "log_gain", "background")
_FILTER_BINS = 40


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
    log_gain, background : Tensor (v,)
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
    """

    def __init__(
        self, geometry: ViewGeometry, data: Tensor, weights: Tensor, device: str, check: Callable[[], None]
    ) -> None:
        rows, columns = data.shape[1:]
        self.data, self.weights, self.check = data, weights, check
        self.projector = GaussianProjector(geometry, (rows, columns), 1.0, device=device)
        self.rotations = torch.as_tensor(np.array(geometry.rotations), dtype=torch.float32, device=device)
        self.filter: Tensor | None = None
        y, x = torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)[None]
        self._frequency = torch.hypot(y, x).to(device)

    def filtered(self, images: Tensor) -> Tensor:
        """Convolve images with h; its own adjoint."""
        if self.filter is None:
            return images
        out: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * self.filter, s=images.shape[1:])
        return out

    def learn_filter(self, linear: Linear, noise: float) -> None:
        """Set h to the radial transfer function of least squares, drawn towards one where there is no signal.

        Parameters
        ----------
        linear : Linear
        noise : float
            Variance of a pixel.
        """
        state = linear.state
        wanted = (self.data - state.background[:, None, None]) / state.log_gain.exp()[:, None, None]
        measured = self.weights > 0
        drawn = torch.fft.rfft2(torch.where(measured, linear.drawn, 0.0))
        found = torch.fft.rfft2(torch.where(measured, wanted, 0.0))
        index = (self._frequency * 2 * _FILTER_BINS).long().clamp_(max=_FILTER_BINS).flatten()

        def ring(values: Tensor) -> Tensor:
            return torch.bincount(index, values.sum(0).flatten().double(), minlength=_FILTER_BINS + 1)

        power, cross = ring(drawn.abs().square()), ring((drawn.conj() * found).real)
        floor = torch.bincount(index, minlength=_FILTER_BINS + 1) * noise * float(measured.sum())
        ratio = ((cross + floor) / (power + floor).clamp_min(1e-30)).clamp_(0.5, 2.0)
        ratio[0] = ratio[1]  # at frequency zero the background and the mean mass mix
        ratio = ratio / ratio[0]
        at = (torch.arange(_FILTER_BINS + 1) + 0.5) / (2 * _FILTER_BINS)
        curve = np.interp(self._frequency.cpu().numpy(), at.numpy(), ratio.cpu().numpy())
        self.filter = torch.as_tensor(curve, dtype=torch.float32, device=self.data.device)

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
        self.residual = self.seen + state.background[:, None, None] - model.data
        self.loss = 0.5 * float((model.weights * self.residual.square()).sum(dtype=torch.float64))

    def forward(self, d: Vector) -> Tensor:
        """Return J d, (v, rows, columns)."""
        s, zero = self.state, torch.zeros_like
        width = s.log_width.exp()
        d_sigma = (width * d["log_width"])[s.klass] if "log_width" in d else zero(s.mass)
        out = self.model.projector.tangent(
            s.centres, s.sigma, s.mass, d["centres"], d_sigma, d["mass"],
            shifts=s.shifts, turns=s.turns, d_shifts=d.get("shifts"), d_turns=d.get("turns"), tick=self.model.check,
        )  # fmt: skip
        out = self.gain * self.model.filtered(out)
        if "log_gain" in d:
            out += d["log_gain"][:, None, None] * self.seen
        if "background" in d:
            out += d["background"][:, None, None]
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
            out["background"] = images.sum((1, 2))
        return out
