"""A user's own images as the ground of the training: their noise, and clean ones among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.simulate.noise import Noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Measured", "Own", "own_images"]


@dataclass(frozen=True)
class Measured:
    """Noise of one image, in its units, and the image's mean and the SD of what is not noise."""

    noise: Noise
    mean: float
    contrast: float


@dataclass(frozen=True)
class Own:
    """What training takes from a user.

    Parameters
    ----------
    measured : tuple of Measured
        Noise models to draw from; empty to draw at random as usual.
    clean : tuple of array (rows, columns)
        Images that pass for noise-free; a share of the scenes is cut from them.
    """

    measured: tuple[Measured, ...] = ()
    clean: tuple[NDArray[np.float64], ...] = ()

    def noisy(
        self, image: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Bring an image to the intensities of a measured one and add noise like that one's.

        Returns
        -------
        image, noisy : array (rows, columns)
            The contrast varies by a factor of up to 1.6 about the measured one.
        """
        like = self.measured[int(rng.integers(len(self.measured)))]
        contrast = like.contrast * float(np.exp(rng.uniform(-0.5, 0.5)))
        image = (image - image.mean()) * (contrast / max(float(image.std()), 1e-9)) + like.mean
        return image, like.noise.apply(image, rng)

    def cut(self, size: int, rng: np.random.Generator) -> NDArray[np.float64] | None:
        """Cut a square of a clean image, turned and flipped at random; None where there is no clean image."""
        large = [c for c in self.clean if min(c.shape) >= size]
        if not large:
            return None
        image = large[int(rng.integers(len(large)))]
        row, column = (int(rng.integers(n - size + 1)) for n in image.shape)
        part = np.rot90(image[row : row + size, column : column + size], int(rng.integers(4)))
        return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def _images(folder: Path) -> list[NDArray[np.float64]]:
    from splatom.data import TiltSeries
    from splatom.io import AnglesMissing, read, suffixes

    files = (
        sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
        if folder.is_dir()
        else [folder]
    )
    found: list[NDArray[np.float64]] = []
    for file in files:
        if folder.is_dir() and file.suffix.lower() not in suffixes():
            continue  # notes, thumbnails, angles beside a stack
        try:
            value = read(file, kind="image")
        except ValueError:
            try:
                value = read(file)
            except AnglesMissing as missing:  # noise needs no angles, so any will do
                value = read(file, angles=[float(i) for i in range(missing.n_tilts)])
        if isinstance(value, TiltSeries):
            found += [np.asarray(image, dtype=np.float64) for image in value.projections]
    if not found:
        raise ValueError(f"{folder}: no images in it that could be read")
    return found


def own_images(kind: Literal["stem", "hrtem"], noisy: Path | None, clean: Path | None, *, most: int = 32) -> Own:
    """Read a user's images and calibrate the noise of the noisy ones.

    Parameters
    ----------
    kind : {'stem', 'hrtem'}
    noisy, clean : Path, optional
        A file or a folder of images each.
    most : int
        Noisy images that are calibrated at most, evenly picked.

    Raises
    ------
    ValueError
        If a folder holds no image, or no image's noise can be told.
    """
    from splatom.simulate.calibration import calibrate

    measured: list[Measured] = []
    if noisy is not None:
        images = _images(noisy)
        fault: Exception | None = None
        for image in images[:: max(1, len(images) // most)][:most]:
            try:
                found = calibrate(image[None], kind)
            except ValueError as exc:
                fault = exc
                continue
            measured.append(Measured(found.noise, float(image.mean()), found.contrast))
        if not measured:
            raise ValueError(f"{noisy}: no image's noise could be calibrated: {fault}")
    return Own(tuple(measured), tuple(_images(clean)) if clean is not None else ())
