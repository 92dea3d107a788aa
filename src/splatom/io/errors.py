"""Faults of files: one line that names the file, the fault and what to do."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AnglesMissing", "FileFault", "faults"]

#: What the libraries behind the readers raise on a damaged file (h5py, zarr and RosettaSciIO raise nearly all of them).
_KNOWN = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    NameError,  # RosettaSciIO, on a damaged DM3 file
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    EOFError,
    AssertionError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class FileFault(ValueError):
    """A file cannot be read or written; the message is one line.

    Parameters
    ----------
    path : str or Path
        The file, named first in the message.
    fault : str
        What is wrong and what to do.
    """

    def __init__(self, path: str | Path, fault: str) -> None:
        self.path = Path(path)
        self.fault = " ".join(fault.split())
        super().__init__(f"{path}: {self.fault}")

    def __reduce__(self) -> tuple[type[FileFault], tuple[str | Path, str]]:
        """Pickle by what made it: a fault may cross from a worker process."""
        return type(self), (self.path, self.fault)


class AnglesMissing(FileFault):
    """A tilt series without tilt angles: the user has to give them.

    Parameters
    ----------
    path : str or Path
    n_tilts : int
        How many angles are needed.
    hint : str
        What was looked at, if anything.
    """

    def __init__(self, path: str | Path, n_tilts: int, hint: str = "") -> None:
        self.n_tilts, self.hint = n_tilts, hint
        super().__init__(
            path,
            f"no tilt angles found for its {n_tilts} projections{'; ' + hint if hint else ''}: give them with --angles "
            "or --angles-file (one a line), or put a .rawtlt file of the same name beside it",
        )

    def __reduce__(self) -> tuple[type[FileFault], tuple[str | Path, int, str]]:  # type: ignore[override]
        """Pickle by what made it."""
        return type(self), (self.path, self.n_tilts, self.hint)


@contextmanager
def faults(path: str | Path, what: str = "cannot be read") -> Iterator[None]:
    """Turn what the libraries raise on a bad file into one :class:`FileFault`.

    Parameters
    ----------
    path : str or Path
    what : str
        The fault in words, put before the library's own.
    """
    try:
        yield
    except FileFault:
        raise
    except PermissionError as error:
        raise FileFault(path, f"{what}: permission denied; ask for access or copy the file") from error
    except FileNotFoundError as error:
        raise FileFault(path, f"{what}: {_missing(error)}") from error
    except IsADirectoryError as error:
        raise FileFault(path, f"{what}: it is a folder") from error
    except MemoryError as error:
        raise FileFault(path, f"{what}: not enough memory for what its header announces") from error
    except _known() as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise FileFault(path, f"{what}: {detail}") from error


def _missing(error: FileNotFoundError) -> str:
    return f"no such file ({error.filename}); check the name" if error.filename else "no such file; check the name"


def _known() -> tuple[type[BaseException], ...]:
    """List the known exceptions, with those of libraries that are loaded already and derive from none of them."""
    import sys

    out: list[type[BaseException]] = list(_KNOWN)
    bomb = getattr(sys.modules.get("PIL.Image"), "DecompressionBombError", None)
    if bomb is not None:
        out.append(bomb)
    for name in ("rsciio.exceptions", "rsciio.utils.exceptions"):
        for item in vars(sys.modules[name]).values() if name in sys.modules else ():
            if isinstance(item, type) and issubclass(item, Exception):
                out.append(item)
    return tuple(out)
