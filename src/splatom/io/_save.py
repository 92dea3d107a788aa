"""Saving without loss: write beside the target, then rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["replacing"]


@contextmanager
def replacing(*targets: Path) -> Iterator[list[Path]]:
    """Give a new path for each target, and put them in place once all are written.

    The last target is renamed last. If anything goes wrong before that, the old files stay whole and the new ones
    are removed. The new paths keep the name and lie in a fresh folder beside the target, so that a rename is one
    step of the file system.
    """
    folder = targets[0].parent
    if not folder.is_dir():
        raise FileFault(targets[0], f"cannot be written: there is no folder {folder}; make it first")
    with faults(targets[0], "cannot be written"):
        for target in targets:
            if target.exists() and not os.access(target, os.W_OK):
                raise FileFault(target, "cannot be written: the file there is write-protected; choose another name")
        aside = Path(tempfile.mkdtemp(prefix=f".{targets[-1].name}.", suffix=".part", dir=folder))
        try:
            fresh = [aside / target.name for target in targets]
            yield fresh
            for new, target in zip(fresh, targets, strict=True):
                if not new.is_dir():
                    _flush(new)
                if target.is_dir():
                    target.rename(aside / "before")
                new.replace(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _flush(path: Path) -> None:
    """Make sure that the bytes are on the disk before the name points to them."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
