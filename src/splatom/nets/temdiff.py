"""TEMDiff's prior: a 3-D U-Net that says what a noisy volume looked like, told a classical reconstruction or not."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ROUNDS", "SIGMA_DATA", "SIGMA_MAX", "SIGMA_MIN", "TemDiff", "scale_of"]

SIGMA_DATA = 0.5  # SD of the volumes in their units, about
SIGMA_MIN, SIGMA_MAX = 0.01, 20.0  # of the noise that the network is trained for
ROUNDS = 3  # in which the network corrects its own estimate; it is trained for no more
_FOLD = 2
_SMALLEST = 8  # voxels a side
_WAVES = 16  # of the embedding of the noise level
_CALM = 0.2  # of the last layer: a step of the optimiser moves all of its many weights at once
_STEPS = (1, 2, 4)  # voxels between the taps of the binomial filters that part fine details from coarse ones


def scale_of(classical: Tensor) -> float:
    """Return what volumes are divided by before the network sees them, from the data alone.

    Parameters
    ----------
    classical : Tensor (z, y, x)
        The classical reconstruction (:func:`splatom.operators.classical.reconstructed`), matter bright.

    Returns
    -------
    float
        Mean weighted by the values themselves (Σx²/Σx of the positive ones): the brightness of what is there, however
        much of the volume is empty. 1 where nothing is.
    """
    x = classical.detach().clamp(min=0)
    mass = float(x.sum(dtype=torch.float64))
    return float(x.square().sum(dtype=torch.float64)) / mass if mass > 0 else 1.0


def _even(x: Tensor) -> Tensor:
    """Divide each voxel's features by their root mean square: weights may be large, activations not."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-2).rsqrt()


class _Block(nn.Module):
    """Two convolutions, scaled and shifted between them by what the noise level asks for."""

    def __init__(self, width: int, known: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        self.modulate = nn.Linear(known, 2 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        with torch.no_grad():
            self.first.weight.mul_(3**0.5)  # keeps the variance; PyTorch's third of it dies out
            self.second.weight.mul_(0.3)  # blocks begin as small corrections

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """Return the shape of x (b, width, z, y, x); known (b, known)."""
        scale, shift = self.modulate(known)[:, :, None, None, None].chunk(2, dim=1)
        out: Tensor = x + self.second(functional.silu(_even(self.first(_even(x))) * (1 + scale) + shift))
        return out


class TemDiff(nn.Module):
    """Denoiser of volumes: the clean estimate of a noisy one, the noise's level given.

    Parameters
    ----------
    base : int
        Width; the levels have 2, 3, 4, … times as many channels.
    levels : int
        Grids, each half as fine as the one before; the finest is half as fine as the volume.

    Notes
    -----
    Preconditioned after T. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022),
    eq. 7 and table 1: ``D(x, σ) = b − Σ g_k d_k + c_out F``, with F and g of ``(b, r, ln σ / 4)``. TEMDiff's own
    architecture is not public; all else is ours. What the network corrects, and sees, is the blend
    ``b = c_skip x + (1 − c_skip) r`` of the noisy volume and the classical reconstruction r (0 where there is none):
    the noisier x, the more of what is known comes from r, and the less there is to be learnt to overlook. Noise is
    taken away as wavelets do it, by shares g of details d of three sizes (à trous: M. Holschneider et al., 1989), which
    is soon learnt; F adds what no smoothing can. Blocks of 2 × 2 × 2 voxels become channels before the first level, so
    that the finest convolutions run on an eighth of the grid. Features are normalised voxel by voxel and never over
    space, so that a patch of a volume gives what the volume gives there; MONAI's networks normalise groups, and bring
    far more than these lines.
    """

    def __init__(self, base: int = 16, levels: int = 3) -> None:
        super().__init__()
        self.base, self.levels = base, levels
        widths = [(2 + i) * base for i in range(levels)]
        cells, known = _FOLD**3, 4 * base
        self.register_buffer("waves", torch.linspace(0.5, 8.0, _WAVES), persistent=False)
        self.embed = nn.Sequential(nn.Linear(2 * _WAVES + 1, known), nn.SiLU(), nn.Linear(known, known), nn.SiLU())
        self.head = nn.Conv3d(2 * cells + 1, widths[0], 3, padding=1)
        pairs = list(pairwise(widths))
        self.side = nn.ModuleList(_Block(a, known) for a, _ in pairs[1:])  # the finest grid costs most
        self.down = nn.ModuleList(nn.Conv3d(a, b, 2, 2) for a, b in pairs)
        self.bottom = nn.ModuleList(_Block(widths[-1], known) for _ in range(2))
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, 2) for a, b in reversed(pairs))
        self.back = nn.ModuleList(_Block(a, known) for a, _ in reversed(pairs))
        self.tail = nn.Conv3d(widths[0], cells + len(_STEPS), 3, padding=1)
        with torch.no_grad():
            for layer in (self.head, *self.down, *self.up):
                layer.weight.mul_(3**0.5)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    def forward(
        self, x: Tensor, sigma: Tensor, condition: Tensor | None = None, rounds: Tensor | None = None
    ) -> Tensor:
        """Estimate the clean volume.

        Parameters
        ----------
        x : Tensor (b, 1, z, y, x)
            A volume over its scale (:func:`scale_of`), plus σ times white noise; the tilt axis along y, the beam along
            z. Any size of at least 8 voxels a side.
        sigma : Tensor (b,)
        condition : Tensor (b, 2, z, y, x), optional
            The classical reconstruction over its scale, and half of the range of tilts over 90° at every voxel. Zeros,
            as without it, stand for no knowledge of any data.
        rounds : Tensor (b,), optional
            How often the classical reconstruction is refined first (:meth:`refined`).

        Returns
        -------
        Tensor (b, 1, z, y, x)

        Raises
        ------
        ValueError
            If the volume is smaller than 8 voxels in a direction.
        """
        size = x.shape[2:]
        if min(size) < _SMALLEST:
            raise ValueError(f"the network takes volumes of at least {_SMALLEST} voxels a side, not {tuple(size)}")
        if condition is None:
            condition = x.new_zeros(len(x), 2, *size)
        if rounds is not None:
            condition = self.refined(condition, rounds)
        level = sigma.to(x.dtype)[:, None, None, None, None]
        total = (level.square() + SIGMA_DATA**2).sqrt()
        keep = (SIGMA_DATA / total).square()
        whole = _FOLD * 2 ** (self.levels - 1)
        padding = [n for side in reversed(size) for n in (0, -side % whole)]
        blend = keep * x + (1 - keep) * condition[:, :1]
        given = torch.cat([blend / SIGMA_DATA, condition[:, :1] / SIGMA_DATA, condition[:, 1:]], dim=1)
        correction, shares = self._correct(functional.pad(given, padding, mode="replicate"), sigma.to(x.dtype))
        inside = (..., slice(size[0]), slice(size[1]), slice(size[2]))
        out: Tensor = blend + level * SIGMA_DATA / total * correction[inside]
        for k, detail in enumerate(_details(blend)):
            out = out - level / total * shares[:, k : k + 1][inside] * detail
        return out

    def refined(self, condition: Tensor, rounds: Tensor) -> Tensor:
        """Put the network's own estimate in the place of the classical reconstruction, again and again.

        Ours: the same weights, applied several times, correct more than once (as with the recurrent interfaces of T.
        Chen et al., "Analog Bits", 2023, which train so too). Nothing is differentiated here.

        Parameters
        ----------
        condition : Tensor (b, 2, z, y, x)
            As :meth:`forward` takes it.
        rounds : Tensor (b,)
            Whole numbers.

        Returns
        -------
        Tensor (b, 2, z, y, x)
        """
        with torch.no_grad():
            for k in range(int(rounds.max())):
                shown = condition[:, :1]
                estimate = self(shown, shown.new_full((len(shown),), SIGMA_MAX), condition).clamp(min=0)
                more = (rounds > k)[:, None, None, None, None] & (condition[:, 1:] > 0)  # zeros stay: nothing is known
                condition = torch.cat([torch.where(more, estimate, shown), condition[:, 1:]], dim=1)
        return condition

    def _correct(self, given: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """F and the shares g above: (b, 3, z, y, x) → (b, 1, z, y, x) and (b, 3, z, y, x)."""
        reach = functional.avg_pool3d(given[:, 2:], _FOLD)
        at = sigma.log()[:, None] / 4
        waves = at * self.waves  # type: ignore[operator]
        known = self.embed(torch.cat([at, waves.sin(), waves.cos()], dim=1))
        x = self.head(torch.cat([_folded(given[:, :2]), reach], dim=1))
        skips = []
        for i, down in enumerate(self.down):
            skips.append(self.side[i - 1](x, known) if i else x)
            x = down(skips[-1])
        for block in self.bottom:
            x = block(x, known)
        for up, back in zip(self.up, self.back, strict=True):
            x = back(up(x) + skips.pop(), known)
        out = _CALM * self.tail(x)
        shares = functional.interpolate(out[:, _FOLD**3 :], scale_factor=_FOLD, mode="nearest")
        return _unfolded(out[:, : _FOLD**3]), shares


def _details(x: Tensor) -> list[Tensor]:
    """Part the details of a volume, fine ones first, each of the shape of x; what is left of it is smooth."""
    parted = []
    for step in _STEPS:
        smooth = x
        for axis in (2, 3, 4):
            size, pads = smooth.shape[axis], [0] * 6
            pads[2 * (4 - axis)] = pads[2 * (4 - axis) + 1] = step
            wide = functional.pad(smooth, pads, mode="replicate")
            before, here, after = (wide.narrow(axis, k * step, size) for k in range(3))
            smooth = 0.25 * (before + after) + 0.5 * here
        parted.append(x - smooth)
        x = smooth
    return parted


def _folded(x: Tensor) -> Tensor:
    """(b, c, z, y, x) → (b, 8c, z/2, y/2, x/2)."""
    b, c, *size = x.shape
    z, y, w = (n // _FOLD for n in size)
    x = x.reshape(b, c, z, _FOLD, y, _FOLD, w, _FOLD).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, c * _FOLD**3, z, y, w)


def _unfolded(x: Tensor) -> Tensor:
    """(b, 8, z, y, x) → (b, 1, 2z, 2y, 2x)."""
    b, _, z, y, w = x.shape
    x = x.reshape(b, 1, _FOLD, _FOLD, _FOLD, z, y, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, 1, z * _FOLD, y * _FOLD, w * _FOLD)
