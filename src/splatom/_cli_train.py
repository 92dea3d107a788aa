"""The command ``splatom train``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_train", "run_train"]


def add_train(commands: Any, add_fields: Any) -> None:
    """Add the command to a parser's commands."""
    from splatom.training.run import NETWORKS, TrainParams

    sub = commands.add_parser("train", help=f"train a network: {', '.join(NETWORKS)}", description=TrainParams.__doc__)
    sub.add_argument("network", choices=NETWORKS, metavar="NETWORK", help=", ".join(NETWORKS))
    sub.add_argument("output", type=Path, metavar="OUT.safetensors")
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    sub.add_argument("--checkpoint", metavar="DIR", type=Path, help="keep the state of the training in this folder")
    sub.add_argument("--resume", action="store_true", help="go on from the state in --checkpoint")
    sub.add_argument("--seed", type=int, default=0, help="seed of weights and images")
    sub.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_fields(sub, TrainParams)


def run_train(args: argparse.Namespace, params: Any) -> None:
    """Train, saying each validation's figures.

    Raises
    ------
    ValueError
        If the name of the output or the user's images cannot be used.
    """
    import sys

    from splatom.operators import choose_device
    from splatom.training.loop import Progress
    from splatom.training.run import train_network

    if args.output.suffix != ".safetensors":
        raise ValueError(f"{args.output}: give a name that ends in .safetensors")

    def say(progress: Progress) -> None:
        told = ", ".join(f"{k.replace('_', ' ')} {v:.2f}" for k, v in progress.figures.items())
        line = (
            f"step {progress.step:,} ({progress.spent:.0%}, {progress.seconds / 60:.1f} min), loss {progress.loss:.3f}"
        )
        sys.stderr.write(f"{line}; {told}\n")

    if args.resume and not any(args.checkpoint.glob(f"{args.network}-*.state")) and not args.quiet:
        sys.stderr.write(f"no checkpoint in {args.checkpoint}: starting afresh\n")
    try:
        card = train_network(
            args.network, args.output, params, seed=args.seed, device=choose_device(args.device),
            checkpoint=args.checkpoint, resume=args.resume, report=(lambda progress: None) if args.quiet else say,
        )  # fmt: skip
    except RuntimeError as exc:  # torch's word for a device that is out of memory, among others
        line = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise ValueError(f"{line} (a smaller --batch, --variant small or --device cpu needs less)") from exc
    if not args.quiet:
        sys.stderr.write(f"{args.output}: {card.network} {card.variant}, {card.steps:,} steps; card beside it\n")
