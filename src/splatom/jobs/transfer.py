"""Objects across a process boundary: a small pickle, and the arrays in one block of shared memory."""

from __future__ import annotations

import pickle
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

__all__ = ["Packed", "pack", "unpack"]

_ALIGN = 64


class Packed:
    """A packed object; keep it until the other side has unpacked it (Windows frees a block nobody holds).

    Attributes
    ----------
    message : tuple
        What to send: (pickle, name of the block or None, sizes of the arrays).
    """

    def __init__(self, message: tuple[bytes, str | None, tuple[int, ...]], block: SharedMemory | None) -> None:
        self.message = message
        self._block = block

    def close(self) -> None:
        """Let go of the block; the receiver has removed it."""
        if self._block is not None:
            self._block.close()
            self._block = None

    def discard(self) -> None:
        """Remove a block that nobody will receive."""
        if self._block is not None:
            try:
                # unlink() tells the resource tracker to forget the block, which pack() has told it already.
                resource_tracker.register(self._block._name, "shared_memory")  # type: ignore[attr-defined]
                self._block.unlink()
            except FileNotFoundError:
                pass
            self.close()


def _memory(block: SharedMemory) -> memoryview:
    assert block.buf is not None  # None only after close()
    return block.buf


def pack(value: Any) -> Packed:
    """Pack any picklable value; its arrays go into shared memory."""
    buffers: list[pickle.PickleBuffer] = []
    header = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    raws = [b.raw() for b in buffers]
    sizes = tuple(r.nbytes for r in raws)
    if not sum(sizes):
        return Packed((header, None, sizes), None)
    block = SharedMemory(create=True, size=sum(-(-s // _ALIGN) * _ALIGN for s in sizes))
    # The receiver removes the block; without this our tracker would try to do so again at exit, and complain.
    resource_tracker.unregister(block._name, "shared_memory")  # type: ignore[attr-defined]
    at = 0
    for raw, size in zip(raws, sizes, strict=True):
        np.frombuffer(_memory(block), np.uint8, size, at)[:] = np.frombuffer(raw, np.uint8)
        at += -(-size // _ALIGN) * _ALIGN
    return Packed((header, block.name, sizes), block)


def unpack(message: tuple[bytes, str | None, tuple[int, ...]]) -> Any:
    """Rebuild a value from :attr:`Packed.message` and remove the block of shared memory."""
    header, name, sizes = message
    if name is None:
        return pickle.loads(header, buffers=[b""] * len(sizes))
    block = SharedMemory(name)
    try:
        buffers, at = [], 0
        for size in sizes:
            own = np.empty(size, np.uint8)
            own[:] = np.frombuffer(_memory(block), np.uint8, size, at)  # numpy lets other threads run while it copies
            buffers.append(own)
            at += -(-size // _ALIGN) * _ALIGN
        return pickle.loads(header, buffers=buffers)
    finally:
        block.close()
        block.unlink()
