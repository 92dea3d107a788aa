"""Training on the user's own images: steps, validation, the best so far."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from splatom.jobs import Job
    from splatom.methods.denoise._pairs import Material

__all__ = ["Learning", "learn"]

_EVERY = 50  # steps between validations
_SMOOTH = 0.98  # of the average over the weights


@dataclass
class Learning:
    """How the training goes.

    Parameters
    ----------
    net : Module
        Average of the weights over the last steps at the best validation.
    error : float
        Its mean square error on held-out pixels, which are noisy themselves, in the scale of the network.
    steps : int
        Done.
    ended : str
        Why it ended, if before its time.
    """

    net: nn.Module
    error: float = float("inf")
    steps: int = 0
    ended: str = ""
    history: list[float] = field(default_factory=list)


def learn(
    net: nn.Module,
    material: Material,
    job: Job[Any],
    *,
    steps: int,
    seconds: float,
    rate: float,
    batch: int,
    frozen_norms: bool,
    total: int,
    preview: Callable[[nn.Module], Any],
    unit: float,
) -> Learning:
    """Train a network on noisy images; a stop, or the end of the time, keeps the best so far.

    Adam with a rate that falls as a cosine; the mean square error, whose minimiser is the mean of what the target can
    be, the clean image (J. Lehtinen et al., ICML 2018). The average of the weights is validated on pixels that are
    never targets, in patches that are always the same.

    Parameters
    ----------
    net : Module
    material : Material
    job : Job
    steps, seconds : int, float
        Whichever ends first.
    rate : float
        Of learning, at the start.
    batch : int
        Patches a step.
    frozen_norms : bool
        Keep the statistics of a trained network's normalisations.
    total : int
        Steps of the whole job.
    preview : callable
        Makes a preview with the network.
    unit : float
        Standard deviation of the images, to report the error in their unit.
    """
    import torch

    from splatom.jobs.errors import JobError, Stopped

    rng = np.random.default_rng(job.seed)
    many = 24 if material.repeats or material.blind == "pixel" else 64
    proof = material.batch(np.random.default_rng(job.seed + 1), many, held=True)
    if not proof[2].any():
        raise JobError("too few measured pixels to learn from: none is left to hold out for the validation")
    net.to(job.device)
    average = copy.deepcopy(net).eval()
    best = Learning(copy.deepcopy(average))
    adam = torch.optim.Adam(net.parameters(), rate)
    state = job.restore()
    if state is not None:
        best.steps = _load(state, net, average, best, adam, rng)
    shown: dict[str, Any] = {"at": -1, "what": None}

    def show() -> Any:
        if best.steps - shown["at"] >= 2 * _EVERY or shown["at"] < 0:
            shown.update(at=best.steps, what=preview(best.net if best.history else average))
        return shown["what"]

    losses: list[float] = []  # since the last validation
    try:
        while best.steps < steps:
            if job.seconds > seconds and best.history:
                best.ended = f"after {seconds / 60:g} minutes"
                break
            for group in adam.param_groups:
                group["lr"] = rate * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * best.steps / steps)))
            losses.append(_step(net, adam, material.batch(rng, batch), job, frozen_norms))
            best.steps += 1
            _follow(average, net, min(_SMOOTH, best.steps / (best.steps + 10)))
            figures = {}
            if best.steps % _EVERY == 0 or best.steps == steps:
                error = _validate(average, proof, job)
                best.history.append(error)
                if error < best.error:
                    best.error, best.net = error, copy.deepcopy(average)
                figures = {"validation_rmse": unit * error**0.5, "training_rmse": unit * float(np.mean(losses)) ** 0.5}
                losses.clear()
            job.tick(
                best.steps, total, show, figures=figures, state=lambda: _state(net, average, best, adam, rng)
            )
    except Stopped:
        job.stopped_at = job.step
        best.ended = "by the user"
    if not best.history:
        best.net = average
    return best


def _step(
    net: nn.Module, adam: Any, drawn: tuple[NDArray[np.float32], ...], job: Job[Any], frozen_norms: bool
) -> float:
    import torch

    shown, wanted, weight = (torch.from_numpy(a).to(job.device) for a in drawn)
    net.train()
    if frozen_norms:
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.eval()
    adam.zero_grad(set_to_none=True)
    loss = _error(net(shown), wanted, weight)
    job.check()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    adam.step()
    return float(loss.detach())


def _error(out: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    return (weight * (out[:, :1] - wanted) ** 2).sum() / weight.sum().clamp_min(1.0)


def _follow(average: nn.Module, net: nn.Module, share: float) -> None:
    """Move the average of the weights on; counts and statistics are taken over."""
    import torch

    with torch.no_grad():
        for mean, new in zip(average.parameters(), net.parameters(), strict=True):
            mean.lerp_(new, 1 - share)
        for kept, now in zip(average.buffers(), net.buffers(), strict=True):
            kept.copy_(now)


def _validate(net: nn.Module, proof: tuple[NDArray[np.float32], ...], job: Job[Any]) -> float:
    import torch

    shown, wanted, weight = (torch.from_numpy(a).to(job.device) for a in proof)
    total = 0.0
    with torch.inference_mode():
        for k in range(len(shown)):
            job.check()
            part = slice(k, k + 1)
            out = net(shown[part])[:, :1]
            total += float((weight[part] * (out - wanted[part]) ** 2).sum())
    return total / max(float(weight.sum()), 1.0)


# -------------------------------------------------------------------- checkpoints
def _state(
    net: nn.Module, average: nn.Module, best: Learning, adam: Any, rng: np.random.Generator
) -> Mapping[str, Any]:
    out: dict[str, Any] = {"rng": rng.bit_generator.state, "history": best.history, "steps": best.steps}
    out["error"] = best.error if best.history else None
    for name, module in (("net", net), ("average", average), ("best", best.net)):
        out |= {f"{name}/{k}": v.cpu().numpy() for k, v in module.state_dict().items()}
    for k, moments in adam.state_dict()["state"].items():
        out |= {f"adam/{k}/{name}": v.cpu().numpy() for name, v in moments.items()}
    return out


def _load(
    state: dict[str, Any], net: nn.Module, average: nn.Module, best: Learning, adam: Any, rng: np.random.Generator
) -> int:
    """Take a checkpoint's state over; returns the steps done."""
    import torch

    for name, module in (("net", net), ("average", average), ("best", best.net)):
        shapes = {k: v.shape for k, v in module.state_dict().items()}  # a file knows no scalars
        module.load_state_dict({k: torch.from_numpy(state[f"{name}/{k}"]).reshape(s) for k, s in shapes.items()})
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith("adam/"):
            _, k, name = key.split("/")
            shape = () if name == "step" else value.shape
            moments.setdefault(int(k), {})[name] = torch.from_numpy(value).reshape(shape)
    adam.load_state_dict({"state": moments, "param_groups": adam.state_dict()["param_groups"]})
    rng.bit_generator.state = state["rng"]
    best.history = [float(v) for v in state["history"]]
    best.error = float("inf") if state["error"] is None else float(state["error"])
    return int(state["steps"])
