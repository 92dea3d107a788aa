"""Checks shared by the value types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


def frozen(array: ArrayLike, dtype: DTypeLike, shape: tuple[int | None, ...], name: str) -> NDArray[Any]:
    """Return a read-only array of a given type, checked against a shape (None: any length).

    No copy is made where the type fits; the view handed out is read-only all the same.
    """
    source = np.asarray(array)
    if np.iscomplexobj(source) and not np.issubdtype(np.dtype(dtype), np.complexfloating):
        raise ValueError(f"{name} holds complex numbers; give real ones (the modulus, for example)")
    out = np.ascontiguousarray(source, dtype=dtype).view()
    fits = out.ndim == len(shape) and all(s is None or s == o for s, o in zip(shape, out.shape, strict=True))
    if not fits:
        wanted = "(" + ", ".join("n" if s is None else str(s) for s in shape) + ")"
        raise ValueError(f"{name} has shape {out.shape}, expected {wanted}")
    out.setflags(write=False)
    return out


def finite(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the array if all its values are finite, else raise ValueError with the count of those not."""
    total = np.sum(array, dtype=np.float64)  # one cheap pass; a NaN or an infinity survives a sum
    if not np.isfinite(total):
        bad = int(array.size - np.isfinite(array).sum())
        raise ValueError(f"{name} holds {bad} values that are not finite (NaN or infinity)")
    return array
