"""MATLAB 5 to 7 files: numeric arrays, alone or in a 1 × 1 struct.

scipy's reader crashes the process (a segmentation fault, scipy 1.17) on some damaged files; this one reads less, and
answers every damage with a ValueError. Format: MathWorks, "MAT-File Format", chapter 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_mat5"]

Order = Literal["<", ">"]

_MATRIX, _COMPRESSED = 14, 15
_STRUCT = 2
_DATA = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = 0x0800
_DEEPEST = 4


def read_mat5(content: bytes) -> dict[str, NDArray[Any]]:
    """Read every numeric array by name, those of a struct as ``struct.field``.

    Raises
    ------
    ValueError
        If the bytes are no MATLAB 5 file, or damaged.
    """
    if len(content) < 128 or content[126:128] not in (b"IM", b"MI"):
        raise ValueError("not a MATLAB file of version 5 to 7.3; save it as one of these")
    order: Order = "<" if content[126:128] == b"IM" else ">"
    out: dict[str, NDArray[Any]] = {}
    for kind, body in _elements(content[128:], order):
        inner = list(_elements(zlib.decompress(body), order)) if kind == _COMPRESSED else [(kind, body)]
        for element, matrix in inner:
            if element == _MATRIX:
                out.update(_matrix(matrix, order, "", 0))
    return out


def _elements(content: bytes, order: Order) -> Iterator[tuple[int, bytes]]:
    """Each element's type and bytes; all but compressed ones are padded to 8 bytes."""
    at, end = 0, len(content)
    while at < end:
        if end - at < 8:
            raise ValueError("truncated inside an element")
        kind, size = (int(v) for v in np.frombuffer(content, order + "u4", 2, at))
        if kind >> 16:  # a small element: its size in the upper half, its data where the size stood
            kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError("damaged: a small element that is not small")
        else:
            start = at + 8
            after = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > end:
            raise ValueError(f"truncated: an element of {size} bytes ends behind the file")
        yield kind, content[start : start + size]
        at = after


def _matrix(content: bytes, order: Order, name: str, depth: int) -> dict[str, NDArray[Any]]:
    """Arrays of one matrix element: itself, or a struct's fields; cells, text and objects give none."""
    parts = list(_elements(content, order))
    if not parts:
        return {}
    if len(parts) < 3 or len(parts[0][1]) < 4:
        raise ValueError("damaged: a matrix without its flags, axes or name")
    flags = int(np.frombuffer(parts[0][1], order + "u4", 1)[0])
    shape = tuple(int(n) for n in np.frombuffer(parts[1][1], order + "i4"))
    name = name or parts[2][1].decode("latin-1")
    if len(shape) < 2 or len(shape) > 8 or min(shape) < 0:
        raise ValueError(f"damaged: {name[:40]!r} has the axes {shape[:8]}")
    kind = flags & 0xFF
    if kind == _STRUCT and shape == (1, 1) and depth < _DEEPEST and len(parts) >= 5:
        width = int.from_bytes(parts[3][1], "little" if order == "<" else "big")
        table = parts[4][1]
        if not 0 < width <= 64:
            raise ValueError("damaged: a struct's names have no length")
        names = [table[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(table), width)]
        out: dict[str, NDArray[Any]] = {}
        for field, (_, body) in zip(names, parts[5:], strict=False):
            out.update(_matrix(body, order, f"{name}.{field}", depth + 1))
        return out
    if kind not in _CLASSES or len(parts) < 4:
        return {}
    values = [_numbers(element, order, shape) for element in parts[3:5]]
    array = values[0].astype(_CLASSES[kind])
    if flags & _COMPLEX and len(values) == 2:
        return {name: array + 1j * values[1]}
    return {name: array}


def _numbers(element: tuple[int, bytes], order: Order, shape: tuple[int, ...]) -> NDArray[Any]:
    kind, body = element
    if kind not in _DATA:
        raise ValueError(f"damaged: numbers of the unknown type {kind}")
    return np.frombuffer(body, order + _DATA[kind]).reshape(shape, order="F")
