"""Checkpoints: the whole state of a method, written aside and renamed, the last two kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splatom.jobs.errors import JobError

__all__ = ["CheckpointStore", "fingerprint"]

_KEPT = 2


def fingerprint(value: Any) -> str:
    """Return a hash of a value type's arrays and numbers; provenance is left out."""
    digest = hashlib.sha256()

    def feed(item: Any) -> None:
        if isinstance(item, np.ndarray):
            digest.update(f"{item.dtype}{item.shape}".encode())
            digest.update(np.ascontiguousarray(item).view(np.uint8).data if item.dtype.kind != "U" else item.tobytes())
        elif is_dataclass(item) and not isinstance(item, type):
            for f in fields(item):
                if f.name != "provenance":
                    digest.update(f.name.encode())
                    feed(getattr(item, f.name))
        else:
            digest.update(repr(item).encode())

    feed(value)
    return digest.hexdigest()


class CheckpointStore:
    """A folder of checkpoints of one run.

    Parameters
    ----------
    folder : path
    identity : dict
        What has to agree for a resume: method, parameters that are not live, input, seed, threads.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.identity = dict(identity)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))

    def save(self, step: int, state: Mapping[str, Any], meta: Mapping[str, Any]) -> Path:
        """Write a state (arrays and JSON values) at a step; returns the file's path.

        One file holds both, so that it is there whole or not at all.
        """
        from safetensors.numpy import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = {k: np.ascontiguousarray(v) for k, v in state.items() if isinstance(v, np.ndarray)}
        plain = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
        shapes = {k: list(v.shape) for k, v in arrays.items()}
        header = json.dumps({"state": plain, "shapes": shapes, "step": step, **meta, "identity": self.identity})
        path = self.folder / f"step-{step:09d}.safetensors"
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        save_file(arrays, aside, metadata={"splatom": header})
        with aside.open("rb+") as handle:
            os.fsync(handle.fileno())
        aside.replace(path)
        for old in self._files()[:-_KEPT]:
            old.unlink(missing_ok=True)
        return path

    def clear(self) -> None:
        """Remove this folder's checkpoints: a run that starts afresh owns it."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return (state, meta) of the newest readable checkpoint, or None where there is none.

        Raises
        ------
        JobError
            If the checkpoint belongs to other input or other parameters.
        """
        from safetensors import SafetensorError, safe_open

        for path in reversed(self._files()):
            try:
                with safe_open(path, framework="numpy") as handle:
                    header = json.loads(handle.metadata()["splatom"])
                    state = {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118 - not a dict
            except (OSError, SafetensorError, KeyError, TypeError, ValueError):
                continue  # torn by a crash or a full disk: the one before it is whole
            theirs, ours = header.pop("identity"), json.loads(json.dumps(self.identity))
            differs = sorted(k for k in {*theirs, *ours} if theirs.get(k) != ours.get(k))
            if differs:
                raise JobError(
                    f"the checkpoint in {self.folder} was made with another {', '.join(differs)}; "
                    "run without --resume, or name another folder"
                )
            return {**state, **header.pop("state")}, header
        return None
