"""Where a computation runs."""

from __future__ import annotations

__all__ = ["choose_device"]


def choose_device(wish: str = "auto") -> str:
    """Return 'cuda' or 'cpu' for 'auto', 'cpu' or 'cuda'.

    Raises
    ------
    ValueError
        If CUDA is asked for and there is none, or the word is unknown.
    """
    if wish == "cpu":
        return "cpu"
    if wish not in ("auto", "cuda"):
        raise ValueError(f"device is '{wish}'; it has to be auto, cpu or cuda")
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wish == "cuda":
        raise ValueError("no CUDA device is available to PyTorch here; use --device cpu, or auto")
    return "cpu"
