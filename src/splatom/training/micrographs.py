"""Streamed pairs of noisy and clean micrographs for the denoisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from splatom.simulate.images import contrast_transfer, deposit, filtered, radii, wavelength_angstrom
from splatom.simulate.noise import Noise
from splatom.training.scenes import Scene, scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.training.own import Own

__all__ = [
    "DOT_SIGMA",
    "LINE_TO_CONTRAST",
    "NOISE_TO_CONTRAST",
    "PIXEL_ANGSTROM",
    "Micrograph",
    "micrograph",
    "normalised",
    "pair",
]

Modality = Literal["stem", "hrtem"]

DOT_SIGMA = 1.3  # px, of the dots that mark columns, at least
_DOT_SHARE = 0.16  # σ of the dots over the distance of neighbours: where columns are wide, none is known to a pixel
_LARGEST_DOT = 3.5  # px
NOISE_TO_CONTRAST = (0.05, 6.0)  # SD of the pointwise noise over SD of the clean image
LINE_TO_CONTRAST = (0.02, 0.7)  # the same of the noise of lines, where there is any
PIXEL_ANGSTROM = (0.09, 0.45)
_MARGIN = 12  # px around the field, against the wrap of Fourier filters


@dataclass(frozen=True)
class Micrograph:
    """A noise-free image and where its columns are.

    Parameters
    ----------
    image : array (rows, columns)
        Electrons expected, but for a factor.
    dots : array (rows, columns)
        A dot of height 1 on every visible column or atom.
    """

    image: NDArray[np.float64]
    dots: NDArray[np.float64]


def _dots(structure: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Mark the maxima of the projected structure, seen at the sharpest resolution that a microscope has."""
    peak = structure.max()
    if peak <= 0:
        return np.zeros_like(structure)
    highest = ndimage.maximum_filter(structure, size=3, mode="wrap")
    at = np.argwhere((structure == highest) & (structure > 0.06 * np.percentile(structure, 99.8)))
    wide = max(2.0, 1.5 * sigma)
    # A dot needs a valley about it: ripples of a thick random pile of atoms are no columns.
    valley = ndimage.minimum_filter(structure, size=int(2 * np.ceil(wide) + 1), mode="wrap")
    deep = structure[tuple(at.T)] > 1.15 * valley[tuple(at.T)]
    at = at[deep]
    rows, columns = structure.shape
    r, c = at.T
    up, down = structure[(r - 1) % rows, c], structure[(r + 1) % rows, c]
    left, right = structure[r, (c - 1) % columns], structure[r, (c + 1) % columns]
    here = structure[r, c]
    shift = np.column_stack(
        [
            (down - up) / np.maximum(2 * (2 * here - up - down), 1e-9),
            (right - left) / np.maximum(2 * (2 * here - left - right), 1e-9),
        ]
    )
    ky, kx, _ = radii((rows, columns))
    if len(at) > 1:
        apart = np.median(cKDTree(at).query(at, k=2)[0][:, 1])
        width = float(np.clip(_DOT_SHARE * apart, DOT_SIGMA, _LARGEST_DOT))
    else:
        width = _LARGEST_DOT
    spot = np.exp(-2 * (np.pi * width) ** 2 * (ky**2 + kx**2)) * 2 * np.pi * width**2
    return np.clip(filtered(deposit(at + np.clip(shift, -0.5, 0.5), 1.0, (rows, columns)), spot), 0, 1)


def _stem(
    view: Scene, at: NDArray[np.float64], shape: tuple[int, int], pixel: float, rng: np.random.Generator
) -> Micrograph:
    """HAADF or BF: incoherent, by the scattering strength Z^n and the probe; see the module simulate.micrograph."""
    bright = bool(rng.random() < 0.45)  # bright field
    power = rng.uniform(0.5, 1.3) if bright else rng.uniform(1.4, 2.0)
    strength = (view.numbers / 30) ** power
    _, _, k = radii(shape)
    k = k / pixel
    # FWHM 0.5 to 2 Å, but at least about two pixels and at most eight.
    sigma = np.clip(np.exp(rng.uniform(np.log(0.22), np.log(0.8))), 0.7 * pixel, 3.5 * pixel)
    probe = np.exp(-2 * (np.pi * np.hypot(sigma, view.debye) * k) ** 2)
    tail = rng.uniform(0, 0.35) if rng.random() < 0.5 else 0.0
    probe = (1 - tail) * probe + tail * np.exp(-2 * np.pi * rng.uniform(0.5, 2.0) * k)
    mass = deposit(at, strength, shape)
    signal = filtered(mass, probe)
    sharp = filtered(mass, np.exp(-2 * (np.pi * max(0.32, 0.75 * pixel) * k) ** 2))
    dots = _dots(sharp, max(0.32 / pixel, 0.75))
    signal = np.maximum(signal, 0)
    top = float(np.percentile(signal, 99.9)) or 1.0
    signal = signal / top
    if rng.random() < 0.5:  # thick columns saturate
        signal = 1 - np.exp(-rng.uniform(0.2, 1.5) * signal)
    if rng.random() < 0.4:  # diffuse scattering from the same matter
        signal = signal + rng.uniform(0.1, 1.5) * ndimage.gaussian_filter(
            signal, rng.uniform(3, 12) / pixel, mode="wrap"
        )
    signal = signal / max(float(signal.max()), 1e-9)
    if bright:
        depth = rng.uniform(0.1, 0.9)
        if rng.random() < 0.4:  # coherent fringes: a bright rim about dark columns
            signal = signal - rng.uniform(0.2, 0.8) * ndimage.gaussian_filter(signal, 1.6 * sigma / pixel, mode="wrap")
            signal = signal / max(float(np.abs(signal).max()), 1e-9)
        return Micrograph(-(1 - depth * signal), dots)  # negated, as the method negates bright-field images
    return Micrograph(signal + (rng.uniform(0, 1.0) if rng.random() < 0.6 else 0.0), dots)


def _hrtem(
    view: Scene, at: NDArray[np.float64], shape: tuple[int, int], pixel: float, rng: np.random.Generator
) -> Micrograph:
    """Phase gratings, one for a thin specimen, up to four with propagation between; then the transfer of the lens."""
    energy = float(rng.choice([60, 80, 120, 200, 200, 300, 300]))
    _, _, k_half = radii(shape)
    ky, kx = np.fft.fftfreq(shape[0])[:, None] / pixel, np.fft.fftfreq(shape[1])[None] / pixel
    k = np.hypot(ky, kx)
    width = np.hypot(rng.uniform(0.18, 0.32), view.debye)
    strength = (view.numbers / 30) ** rng.uniform(0.6, 0.9)
    mass = deposit(at, strength, shape)
    blur = np.exp(-2 * (np.pi * width * k_half / pixel) ** 2) / pixel**2
    thick = rng.random() < 0.5  # most crystals are no weak phase objects
    peak = float(np.exp(rng.uniform(np.log(0.8), np.log(5.0)))) if thick else rng.uniform(0.05, 1.2)  # rad
    unit = peak / max(float(np.percentile(np.abs(filtered(mass, blur)), 99.5)), 1e-9)
    count = int(rng.integers(2, 5)) if thick else 1
    corrected = rng.random() < 0.6
    spherical = rng.normal(scale=1e5) if corrected else rng.uniform(0.4e7, 1.3e7)  # Å: about ±10 µm, or 0.4 to 1.3 mm
    wave = wavelength_angstrom(energy)
    defocus = rng.uniform(-150, 150) if corrected else 1.2 * np.sqrt(spherical * wave) * rng.uniform(0.3, 2.0)
    chi, envelope = contrast_transfer(
        k, energy_kev=energy, defocus=float(defocus), spherical=float(spherical),
        focal_spread=rng.uniform(8, 60), convergence=rng.uniform(0.0, 5e-4),
    )  # fmt: skip
    stigma = rng.uniform(0, 40) if rng.random() < 0.3 else 0.0
    if stigma:
        chi = chi - np.pi * wave * stigma * k**2 * np.cos(2 * (np.arctan2(ky, kx) - rng.uniform(0, np.pi)))
    finite = np.exp(-2 * (np.pi * rng.uniform(0.15, 0.45) * k) ** 2)  # vibration and the information limit
    loss = rng.uniform(0, 0.12) if rng.random() < 0.5 else 0.0  # absorption
    depth = view.points[:, 2]
    low, high = (float(depth.min()), float(depth.max())) if len(depth) else (0.0, 0.0)  # a view may hold no atom
    slices = np.minimum((count * (depth - low) / max(high - low, 1e-9)).astype(int), count - 1)
    apart = (high - low) / count
    onward = np.exp(-1j * np.pi * wave * apart * k**2)
    through: Any = np.ones(shape, dtype=np.complex128)
    for i in range(count):
        here = slices == i
        phase = unit * filtered(deposit(at[here], strength[here], shape), blur)
        if i:
            through = fft.ifft2(fft.fft2(through) * onward)
        through = through * np.exp(1j * phase - loss * np.abs(phase))
    wave_out = fft.ifft2(fft.fft2(through) * np.exp(-1j * chi) * envelope * finite)
    image = np.abs(wave_out) ** 2
    sharp = filtered(mass, np.exp(-2 * (np.pi * max(0.32, 0.75 * pixel) * k_half / pixel) ** 2))
    return Micrograph(image, _dots(sharp, max(0.32 / pixel, 0.75)))


def _solids(shape: tuple[int, int], rng: np.random.Generator) -> Micrograph:
    """Particles of a nanometre and more: projected thickness of ellipsoids and polyhedra, some hollow, on a support."""
    rows, columns = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    out = np.zeros(shape)
    for _ in range(int(rng.integers(1, 14))):
        centre = rng.uniform(-0.1, 1.1, 2) * shape
        turn, (a, b) = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(2), np.log(0.7 * shape[0]), 2))
        down, along = rows - centre[0], columns - centre[1]
        u, v = (np.cos(turn) * down + np.sin(turn) * along) / a, (np.cos(turn) * along - np.sin(turn) * down) / b
        if rng.random() < 0.6:
            thick = np.sqrt(np.clip(1 - u * u - v * v, 0, None))
        else:
            turns = rng.uniform(0, 2 * np.pi, rng.integers(4, 9))
            gaps = [1 - (np.cos(t) * u + np.sin(t) * v) for t in turns]
            thick = np.clip(np.min(gaps, axis=0) * rng.uniform(1, 6), 0, 1)
        out += thick * rng.choice([1.0, 1.0, -0.5]) * rng.uniform(0.1, 1)
    out = ndimage.gaussian_filter(np.clip(out, 0, None), rng.uniform(0.4, 1.2))
    if rng.random() < 0.3:
        out += (
            rng.uniform(0.05, 0.5) * np.max(out) * ndimage.gaussian_filter(rng.standard_normal(shape), 2, mode="wrap")
        )
        out -= out.min()
    return Micrograph(
        out / max(float(out.max()), 1e-9) + (rng.uniform(0, 0.5) if rng.random() < 0.5 else 0), np.zeros(shape)
    )


def micrograph(size: int, modality: Modality, rng: np.random.Generator) -> Micrograph:
    """Draw a noise-free image of ``size`` × ``size`` pixels of a random specimen.

    Pixels of 0.09 to 0.45 Å for atoms; a tenth of the STEM images show solids at the scale of tomography instead.
    """
    wide = size + 2 * _MARGIN
    shape = (wide, wide)
    if modality == "stem" and rng.random() < 0.12:
        whole = _solids(shape, rng)
    else:
        pixel = float(np.exp(rng.uniform(*np.log(PIXEL_ANGSTROM))))
        view = scene(wide * pixel / 2, rng)
        at = view.points[:, [1, 0]] / pixel + (wide - 1) / 2
        near = ((at > -1) & (at < wide)).all(1)
        view = Scene(view.points[near], view.numbers[near], view.debye)
        # By reciprocity a coherent bright-field STEM image is an HRTEM image; negated, as the method negates it.
        coherent = modality == "hrtem" or rng.random() < 0.25
        whole = (_hrtem if coherent else _stem)(view, at[near], shape, pixel, rng)
        if coherent and modality == "stem":
            whole = Micrograph(-whole.image, whole.dots)
    inner = (slice(_MARGIN, _MARGIN + size),) * 2
    return Micrograph(whole.image[inner], whole.dots[inner])


def noise_for(image: NDArray[np.float64], modality: Modality, rng: np.random.Generator) -> Noise:
    """Draw a noise model, its strength relative to the image's contrast."""
    contrast = max(float(image.std()), 0.02 * float(np.abs(image).max()), 1e-9)
    low, high = NOISE_TO_CONTRAST
    low, high = (0.3, high) if rng.random() < 0.7 else (low, 0.5)  # low doses are what a denoiser is for
    level = contrast * float(np.exp(rng.uniform(np.log(low), np.log(high))))
    share = rng.choice([0.0, 1.0, 1.0, float(rng.random())])  # of the variance that is counting noise
    zero = float(image.min()) if image.min() < 0 else 0.0
    mean = max(float(image.mean()) - zero, 1e-9)
    with_lines = rng.random() < 0.5
    line = contrast * float(np.exp(rng.uniform(*np.log(LINE_TO_CONTRAST)))) if with_lines else 0.0
    line = min(line, 1.5 * level)
    kind = rng.random()
    return Noise(
        gain=share * level**2 / mean,
        zero=zero,
        readout=float(np.sqrt(1 - share)) * level,
        tail=0.14 if rng.random() < 0.7 else float(rng.uniform(-0.1, 0.3)),
        line=line * (kind < 0.7),
        line_gradient=line / max(float(np.hypot(*np.gradient(image)).mean()), 1e-9) * (kind > 0.5) * 0.7,
        line_length=float("inf") if rng.random() < 0.6 else float(np.exp(rng.uniform(np.log(4), np.log(100)))),
        lines="rows" if modality == "stem" else "columns",
        blur=float(rng.uniform(0.3, 0.9)) if rng.random() < 0.12 else 0.0,
    )


def normalised(noisy: NDArray[np.floating], rng: np.random.Generator) -> tuple[float, float]:
    """Draw the offset and the scale by which a pair is normalised: near the image's mean and SD.

    A whole series shares one scale, so that a tile of it may be fainter or brighter than its own SD says.
    """
    mean, spread = float(noisy.mean()), max(float(noisy.std()), 1e-9)
    if rng.random() < 0.5:
        return mean, spread
    return mean + rng.normal(scale=0.4) * spread, spread * float(np.exp(rng.normal(scale=0.4)))


def pair(
    size: int, modality: Modality, rng: np.random.Generator, own: Own | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw one training example.

    Parameters
    ----------
    size : int
        Edge in pixels.
    modality : {'stem', 'hrtem'}
    rng : numpy.random.Generator
    own : Own, optional
        A user's noise (for three of four examples) and clean images (for half of them, without dots: their columns are
        not known).

    Returns
    -------
    noisy : array (1, size, size), float32
        Normalised to about zero mean and unit SD.
    target : array (2, size, size), float32
        The noise-free image in the same units, and the dots; NaN where these are not known.
    """
    cut = own.cut(size, rng) if own is not None and rng.random() < 0.5 else None
    while True:
        view = micrograph(size, modality, rng) if cut is None else Micrograph(cut, np.full(cut.shape, np.nan))
        if view.image.std() > 1e-6:
            break
        cut = None
    # Bright field is drawn negated, as the network sees it; electrons are counted in the image as taken.
    sign = -1 if cut is None and view.image.min() < 0 else 1
    image = sign * view.image
    if own is not None and own.measured and rng.random() < 0.75:
        image, noisy = own.noisy(image, rng)
    else:
        noisy = noise_for(image, modality, rng).apply(image, rng)
    image, noisy = sign * image, sign * noisy
    offset, scale = normalised(noisy, rng)
    target = np.stack([(image - offset) / scale, view.dots])
    return ((noisy - offset) / scale)[None].astype(np.float32), target.astype(np.float32)
