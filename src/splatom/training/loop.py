"""The training loop: a budget, a schedule, averaged weights, checkpoints, a log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Budget", "Progress", "Trained", "log_line", "train"]

_AVERAGE = 0.998  # of the averaged weights, per step
_FREEZE = 0.75  # share of the budget after which batch norms keep their statistics, so that the weights settle on them
_WARM = 100  # steps

# Input and target; several inputs are the arguments of the network.
Batch = tuple["Tensor | tuple[Tensor, ...]", "Tensor"]


@dataclass(frozen=True)
class Budget:
    """When training ends, and how fast it learns.

    Parameters
    ----------
    minutes : float
        Time to train for, from the first start, resumed runs counted in.
    steps : int, optional
        End after so many steps instead: the way to a result that repeats to the last bit.
    rate : float
        Highest learning rate; it rises over the first steps and falls as a cosine.
    """

    minutes: float = 10.0
    steps: int | None = None
    rate: float = 2e-3

    def spent(self, step: int, seconds: float) -> float:
        """Share of the budget that is used up."""
        return step / self.steps if self.steps is not None else seconds / (60 * self.minutes)


@dataclass
class Progress:
    """What one report of the loop says."""

    step: int
    seconds: float
    spent: float
    loss: float
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A network with averaged weights, in evaluation mode, and how it came about."""

    net: nn.Module
    steps: int
    seconds: float
    interrupted: bool


class _Average:
    """Exponential mean of weights and running statistics, young at first."""

    def __init__(self, net: nn.Module) -> None:
        self.state = {k: v.detach().clone() for k, v in net.state_dict().items()}

    def update(self, net: nn.Module, step: int) -> None:
        keep = min(_AVERAGE, (1 + step) / (10 + step))
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value.detach(), 1 - keep)
            else:
                self.state[name].copy_(value)


def train(
    net: nn.Module,
    batch: Callable[[int], Batch],
    loss: Callable[[Tensor, Tensor], Tensor],
    budget: Budget,
    *,
    validate: Callable[[nn.Module], dict[str, float]],
    device: str = "cpu",
    checkpoint: Path | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
    every: int = 200,
    workers: int = 0,
    tick: Callable[[], None] | None = None,
) -> Trained:
    """Train a network in place of its averaged weights.

    Parameters
    ----------
    net : torch module
    batch : callable
        ``batch(i)`` gives input and target of step i, the same for the same i.
    loss : callable
        ``loss(output, target)``.
    budget : Budget
    validate : callable
        Figures of a network in evaluation mode, asked every ``every`` steps and at the end.
    device : {'cpu', 'cuda'}
        On CUDA the forward pass runs in bfloat16.
    checkpoint : Path, optional
        File that holds the state, written at each validation.
    resume : bool
        Go on from the checkpoint where there is one.
    report : callable
    every : int
        Steps between validations.
    workers : int
        Processes that make the batches; 0 makes them here.
    tick : callable, optional
        Called at every step; what it raises ends the training.

    Returns
    -------
    Trained
        Also after Ctrl-C, with what was learnt by then.

    Raises
    ------
    ValueError
        If the loss is not finite ten steps in a row, or the checkpoint is damaged or another network's.
    """
    import torch

    net.to(device).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=budget.rate, weight_decay=1e-4)
    average, step, before = _Average(net), 0, 0.0
    if resume and checkpoint is not None and checkpoint.exists():
        try:
            state = torch.load(checkpoint, map_location=device, weights_only=True)
            net.load_state_dict(state["net"])
            optimiser.load_state_dict(state["optimiser"])
            average.state, step, before = state["average"], state["step"], state["seconds"]
        except Exception as exc:  # torch raises many kinds, a damaged file even KeyError
            raise ValueError(f"{checkpoint}: no state of this network, or damaged; start without --resume") from exc
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.03
    started, seen, bad = time.monotonic(), [], 0
    stream = _stream(batch, step, workers)
    spent = budget.spent(step, before)
    interrupted = False
    try:
        if spent >= 1:  # nothing is left to do: its figures are told all the same
            report(Progress(step, before, 1.0, float("nan"), validate(_evaluated(net, average))))
        while spent < 1:
            rate = budget.rate * min(1.0, (step + 1) / _WARM) * (0.5 * (1 + math.cos(math.pi * min(spent, 1))) + 1e-3)
            for group in optimiser.param_groups:
                group["lr"] = rate
            if spent > _FREEZE:
                for norm in norms:
                    norm.eval()
            given, target = next(stream)
            inputs = given if isinstance(given, (tuple, list)) else (given,)
            images = [x.to(device, non_blocking=True) for x in inputs]
            target = target.to(device, non_blocking=True)
            with torch.autocast("cuda", dtype=torch.bfloat16) if device == "cuda" else nullcontext():
                output = net(*images)
            value = loss(output.float(), target)
            optimiser.zero_grad(set_to_none=True)
            bad = 0 if torch.isfinite(value) else bad + 1
            if bad >= 10:
                raise ValueError(f"the loss is not finite since step {step - 9}; lower the learning rate")
            if not bad:
                value.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                average.update(net, step)
                seen.append(float(value.detach()))
            step += 1
            seconds = before + time.monotonic() - started
            spent = budget.spent(step, seconds)
            if tick is not None:
                tick()
            if step % every == 0 or spent >= 1:
                figures = validate(_evaluated(net, average))
                report(
                    Progress(step, seconds, min(spent, 1.0), float(np.mean(seen)) if seen else float("nan"), figures)
                )
                seen = []
                if checkpoint is not None:
                    _save(checkpoint, net, optimiser, average, step, seconds)
    except KeyboardInterrupt:
        interrupted = True
    return Trained(_evaluated(net, average), step, before + time.monotonic() - started, interrupted)


def _stream(batch: Callable[[int], Batch], first: int, workers: int) -> Iterator[Batch]:
    """Batches from ``first`` on, made here or by processes ahead of need; the order is the same."""
    from itertools import count

    if not workers:
        yield from map(batch, count(first))
        return
    import torch
    from torch.utils.data import DataLoader

    pin = torch.cuda.is_available()
    yield from DataLoader(_Endless(batch), sampler=count(first), batch_size=None, num_workers=workers, pin_memory=pin)  # type: ignore[arg-type]


class _Endless:
    """The stream as torch's data sets are: by index."""

    def __init__(self, batch: Callable[[int], Batch]) -> None:
        self._batch = batch

    def __getitem__(self, index: int) -> Batch:
        return self._batch(index)

    def __len__(self) -> int:
        return 2**31 - 1


def _evaluated(net: nn.Module, average: _Average) -> nn.Module:
    from copy import deepcopy

    copy = deepcopy(net)
    copy.load_state_dict(average.state)
    return copy.eval()


def _save(path: Path, net: nn.Module, optimiser: Any, average: _Average, step: int, seconds: float) -> None:
    import torch

    aside = path.with_suffix(".part")
    state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "average": average.state}
    torch.save({**state, "step": step, "seconds": seconds}, aside)
    aside.replace(path)


def log_line(path: Path, progress: Progress) -> None:
    """Append a report to a log of one JSON object a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**vars(progress), "figures": progress.figures}) + "\n")
