"""Weights of the networks: shipped beside this file, or a user's own; each with its model card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["VARIANTS", "Card", "WeightsError", "build", "load", "save", "shipped"]

_FOLDER = Path(__file__).parent

# Arguments of each network's class; the full ones are as published, but for the second output.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "scgn": {
        "full": {"width": 64, "blocks": 8, "outputs": 2},
        "small": {"width": 32, "blocks": 4, "outputs": 2, "fold": 2, "residual": True},
    },
    "sfin": {
        "full": {"width": 64, "blocks": 8, "outputs": 2},
        "small": {"width": 48, "blocks": 4, "outputs": 2, "fold": 2, "residual": True},
    },
    # Ours, which knows the tilt's geometry, and the published flow network (one residual channel, the gap as an input).
    "tsgnet": {
        "full": {"widths": [64, 96, 128, 160], "fold": 1},
        "small": {"widths": [32, 48, 64], "fold": 2},
        "published": {"residuals": 1, "gap": True},
    },
    # Two priors of each size: they know what cells look like, or what materials do.
    "temdiff": {
        "full-biological": {"base": 32},
        "full-materials": {"base": 32},
        "small-biological": {"base": 16},
        "small-materials": {"base": 16},
    },
}


class WeightsError(ValueError):
    """Weights are missing, damaged or another network's; one line says which file and what to do."""


@dataclass(frozen=True)
class Card:
    """What weights are and how they came about; it travels in the file's header, and as a page beside it.

    Parameters
    ----------
    network, variant : str
    architecture : dict
        Arguments of the network's class.
    data : str
        What it was trained on.
    seed, steps : int
    minutes : float
    machine, date, version : str
        Where and when, and Splatom's version.
    figures : dict
        Last figures of the validation.
    trained : dict
        Ranges (low, high) of what it has seen: ``noise_to_contrast``, ``line_to_contrast``, ``pixel_angstrom`` of the
        denoisers; ``gap_degree``, half of the neighbours' distance, of TSGNet.
    detect_sigma : float
        Of denoisers: σ in pixels of the dots of the second output, at least; wider where columns are far apart.
    """

    network: str
    variant: str
    architecture: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    seed: int = 0
    steps: int = 0
    minutes: float = 0.0
    machine: str = ""
    date: str = ""
    version: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    trained: dict[str, Any] = field(default_factory=dict)
    detect_sigma: float = 1.3

    def page(self) -> str:
        """Return the model card as Markdown."""
        rows = [
            ("Trained on", self.data),
            ("Seed, steps", f"{self.seed}, {self.steps:,}"),
            ("Machine", f"{self.machine}, {self.minutes:.0f} minutes, {self.date}, Splatom {self.version}"),
            ("Architecture", ", ".join(f"{k} {v}" for k, v in self.architecture.items())),
            *((f"Seen: {k.replace('_', ' ')}", f"{low:g} to {high:g}") for k, (low, high) in self.trained.items()),
            *((f"Validation: {k.replace('_', ' ')}", f"{v:.2f}") for k, v in self.figures.items()),
        ]
        table = "\n".join(f"| {name} | {text} |" for name, text in rows)
        return f"# {self.network.upper()}, {self.variant}\n\n| | |\n|---|---|\n{table}\n"


def build(network: str, variant: str) -> nn.Module:
    """Make a network with weights drawn at random.

    Raises
    ------
    WeightsError
        If there is no such network or variant.
    """
    return _made(network, _arguments(network, variant))


def _arguments(network: str, variant: str) -> dict[str, Any]:
    if network not in VARIANTS or variant not in VARIANTS[network]:
        known = "; ".join(f"{n}: {', '.join(v)}" for n, v in VARIANTS.items())
        raise WeightsError(f"no network '{network}' of variant '{variant}'; there are {known}")
    return VARIANTS[network][variant]


def _made(network: str, arguments: dict[str, Any]) -> nn.Module:
    from splatom.nets import Scgn, Sfin, TemDiff, TiltRefiner, Tsgnet

    classes: dict[str, type[nn.Module]] = {"scgn": Scgn, "sfin": Sfin, "temdiff": TemDiff, "tsgnet": Tsgnet}
    made = TiltRefiner if network == "tsgnet" and "widths" in arguments else classes[network]
    return made(**arguments)


def _file(network: str, variant: str) -> Path:
    return _FOLDER / f"{network}-{variant}.safetensors"


def shipped(network: str) -> tuple[str, ...]:
    """Variants of a network whose weights are in the package, the full one first."""
    return tuple(v for v in VARIANTS.get(network, {}) if _file(network, v).exists())


def load(network: str, variant: str = "auto", path: Path | None = None) -> tuple[nn.Module, Card]:
    """Return a network in evaluation mode, and its card.

    Parameters
    ----------
    network : str
        ``"scgn"``, ``"sfin"``, ``"tsgnet"`` or ``"temdiff"``.
    variant : str
        'auto', or one of ``VARIANTS[network]``, of the shipped weights; auto is the full one where it ships.
    path : Path, optional
        A user's own file, as ``splatom train`` writes it; the variant is then what the file says.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or holds another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    there = shipped(network)
    if path is None:
        if variant == "auto":
            small = (v for v in VARIANTS.get(network, {}) if v.startswith("small"))
            variant = there[0] if there else next(small, "small")
        _arguments(network, variant)
        path = _file(network, variant)
        if not path.exists():
            other = f"; --variant {there[0]} ships" if there else ""
            raise WeightsError(
                f"{path}: the {variant} weights of {network} are not there{other}. Make them with "
                f"'splatom train {network} OUT.safetensors --variant {variant}' and name the file with --weights"
            )
    elif not path.exists():
        raise WeightsError(f"{path}: no such file of weights; 'splatom train {network} {path}' makes one")
    try:
        card = read_card(path)
        if card.network != network:
            raise WeightsError(f"{path}: holds weights of {card.network}, not of {network}")
        net = _made(network, card.architecture)
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
    except (SafetensorError, OSError, KeyError, RuntimeError, TypeError, json.JSONDecodeError) as exc:
        if path.parent == _FOLDER:
            cure = "install splatom anew"
        else:
            cure = f"make it anew with 'splatom train {network} {path}'"
        raise WeightsError(f"{path}: the file of weights is damaged ({type(exc).__name__}); {cure}") from exc
    return net.eval(), card


def read_card(path: Path) -> Card:
    """Return the card in a file's header.

    Raises
    ------
    safetensors.SafetensorError, OSError, KeyError, json.JSONDecodeError
        If the file is damaged or carries no card.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        told = json.loads((file.metadata() or {})["card"])
    known = {f.name for f in fields(Card)}
    return Card(**{k: v for k, v in told.items() if k in known})


def save(path: Path, net: nn.Module, card: Card) -> Card:
    """Write weights in half precision with their card, and the card as a page beside them.

    Raises
    ------
    WeightsError
        If a weight is not finite in half precision, or the file cannot be written.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {k: v.detach().cpu() for k, v in net.state_dict().items()}
    state = {k: v.half().contiguous() if v.is_floating_point() else v.contiguous() for k, v in state.items()}
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{path}: the weights '{name}' are not finite; train with a lower rate")
    card = replace(card, architecture=card.architecture or _arguments(card.network, card.variant))
    aside = path.with_name(f"{path.name}.part")
    try:
        save_file(state, aside, {"card": json.dumps(asdict(card))})
        aside.replace(path)
    except (SafetensorError, OSError) as exc:
        aside.unlink(missing_ok=True)
        raise WeightsError(f"{path}: cannot be written ({exc})") from exc
    path.with_suffix(".md").write_text(card.page(), encoding="utf-8")
    return card
