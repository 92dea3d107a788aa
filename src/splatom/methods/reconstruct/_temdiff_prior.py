"""The network as a prior: which one, what it is shown, and what it says of a noisy volume."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from splatom.methods.reconstruct._temdiff_patches import in_patches

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from splatom.weights import Card

__all__ = ["KINDS", "Prior", "candidates", "schedule"]

Kind = Literal["biological", "materials"]
_THINNEST = 8  # voxels that the network takes
_AXES = (2, 3, 4)
KINDS: tuple[Kind, ...] = ("biological", "materials")


@dataclass(frozen=True, eq=False)
class Prior:
    """A denoiser of volumes of any size, in units of the volume's scale.

    Parameters
    ----------
    net : Module
        As :class:`splatom.nets.TemDiff`.
    name : str
        For the report.
    card : Card or None
    condition : Tensor (2, z, y, x)
        A classical reconstruction over its scale, and half of the range of tilts over 90°.
    patch, overlap : int
        In voxels.
    check : callable
        Called before each layer of each patch.
    """

    net: nn.Module
    name: str
    card: Card | None
    condition: Tensor
    patch: int
    overlap: int
    check: Callable[[], None]

    def __call__(self, noisy: Tensor, sigma: float) -> Tensor:
        """Return the clean estimate (z, y, x) of a volume with noise of a standard deviation.

        Raises
        ------
        JobError
            If it is not finite.
        """
        from splatom.jobs.errors import JobError

        given = torch.cat([noisy[None], self.condition])
        out = in_patches(lambda part: self._seen(part, sigma), given, self.patch, self.overlap, self.check)
        if not bool(torch.isfinite(out).all()):
            raise JobError("the prior gave values that are not finite: its weights do not suit these data")
        return out

    def _seen(self, given: Tensor, sigma: float) -> Tensor:
        """Show the network one patch, (3, z, y, x), and its mirror image; returns the mean of both answers.

        It has learnt from mirrored specimens as much. Two at once take PyTorch less time on a CPU than one alone.
        """
        from splatom.methods.denoise._network import interruptible

        with torch.no_grad(), interruptible(self.net, self.check):
            size = given.shape[1:]
            thin = [n for side in reversed(size) for n in (0, max(0, _THINNEST - side))]
            given = torch.nn.functional.pad(given[None], thin, mode="replicate")
            given = torch.cat([given, given.flip(_AXES)])
            out: Tensor = self.net(given[:, :1], given.new_full((2,), sigma), given[:, 1:])
            mean = (out[:1] + out[1:].flip(_AXES)) / 2
        return mean[0, 0, : size[0], : size[1], : size[2]].float()

    def seconds(self) -> float:
        """Time one patch, and return what a whole evaluation takes by that."""
        shape = self.condition.shape[1:]
        given = torch.cat([self.condition[:1], self.condition])[:, *(slice(0, self.patch) for _ in shape)]
        self._seen(given, 1.0)
        began = time.perf_counter()
        self._seen(given, 1.0)
        seconds = (time.perf_counter() - began) / given[0].numel()
        # Patches overlap.
        shared = (1 + self.overlap / self.patch) ** 3 if max(shape) > 1.25 * self.patch else 1.0
        return seconds * shared * self.condition[0].numel()


def candidates(
    kind: Kind | Literal["auto"], variant: str, path: Path | None
) -> list[tuple[str, nn.Module, Card | None]]:
    """Return the networks that are to be compared: of each kind that ships, the one that is asked for among them.

    Raises
    ------
    JobError
        If weights are missing, damaged or another network's.
    """
    from splatom.methods.denoise._network import loaded
    from splatom.weights import shipped

    if path is not None:
        net, card = loaded("temdiff", "auto", path)
        return [(f"{card.variant}, {path}", net, card)]
    there = shipped("temdiff")
    sizes = ("full", "small") if variant == "auto" else (variant,)
    best = {one: next((f"{size}-{one}" for size in sizes if f"{size}-{one}" in there), None) for one in KINDS}
    wanted = [name for name in best.values() if name is not None]
    if not wanted or (kind != "auto" and best[kind] is None):  # says what is missing and how to make it
        loaded("temdiff", f"{sizes[-1]}-{KINDS[0] if kind == 'auto' else kind}", None)
    return [(name, *loaded("temdiff", name, None)) for name in wanted]


def schedule(steps: int, high: float, low: float, rho: float = 7.0) -> list[float]:
    """Noise levels from high to low, (steps,): T. Karras et al. (2022), eq. 5."""
    if steps == 1:
        return [high]
    ends: tuple[Any, Any] = (high ** (1 / rho), low ** (1 / rho))
    return [float((ends[0] + i / (steps - 1) * (ends[1] - ends[0])) ** rho) for i in range(steps)]
