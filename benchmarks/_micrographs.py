"""Held-out micrographs for the denoisers: HAADF, BF and HRTEM by abTEM's multislice, with shot, scan and camera noise.

The networks learn from incoherent images and from phase objects behind a linear transfer function. Here electrons go
through the specimen slice by slice (frozen phonons, Lobato's potentials), so that channelling, thickness saturation
and non-linear contrast are those of the physics, not of our simulator; the specimens are those of ``_held_out.py``.
HAADF (60 to 100 mrad) and BF (0 to 10 mrad) come from one scan: 200 kV, 21 mrad, PRISM with windows of 10 Å, probes
0.35 Å apart and Fourier interpolation between them (the images hold nothing finer than λ / 2α = 0.6 Å, and next to
nothing finer than 0.7 Å), a source of σ 0.3 Å. HRTEM: plane wave, 300 kV, an aberration-corrected and a conventional
lens. Frozen phonons: one or two configurations (STEM), four (HRTEM); the truth is the image that these atoms give.

    python benchmarks/_micrographs.py [CACHE] [NAME ...]     makes them: about an hour on one core
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from _held_out import SPECIMENS, Specimen

if TYPE_CHECKING:
    import ase

Modality = Literal["haadf", "bf", "hrtem"]
MODALITIES: tuple[Modality, ...] = ("haadf", "bf", "hrtem")
SIZE = 256
MODELS = Path(__file__).parents[2] / "shared" / "data" / "models"
SOURCE = 0.3  # Å, σ of the effective source of the STEM images
STEP, FINE = 0.35, 0.08  # Å: between probes; of the potential
WINDOW = 10.0  # Å, of the probes in PRISM
SLICE = 2.5  # Å
MERGED = 0.6  # Å: columns that are closer in projection are one, as no lens here tells them apart
DOSES: dict[Modality, tuple[float, ...]] = {  # electrons per Å²
    "haadf": (2e3, 8e3, 4e4),
    "bf": (8e3, 4e4, 2e5),
    "hrtem": (60.0, 250.0, 1e3),
}
LENSES = {  # (Cs, defocus, focal spread) in Å: over- and underfocus such that atoms are bright, and dark
    "corrected": (-1.5e5, -60.0, 30.0),
    "conventional": (5.0e6, 430.0, 50.0),
}


# ------------------------------------------------------------------------------------------------ multislice
def _potential(atoms: ase.Atoms, specimen: Specimen, phonons: int):
    import abtem

    gpts = tuple(8 * round(length / FINE / 8) for length in atoms.cell.lengths()[:2])
    shaken = abtem.FrozenPhonons(atoms, phonons, specimen.shake, seed=1)
    return abtem.Potential(shaken, gpts=gpts, slice_thickness=SLICE, projection="infinite", parametrization="lobato")


def stem(atoms: ase.Atoms, specimen: Specimen) -> dict[str, NDArray[np.float32]]:
    """Return HAADF and BF images of the cell, (rows, columns), as fractions of the beam."""
    import abtem

    lengths = atoms.cell.lengths()[:2]
    potential = _potential(atoms, specimen, specimen.phonons)
    interpolation = tuple(max(1, int(length / WINDOW)) for length in lengths)
    matrix = abtem.SMatrix(potential=potential, energy=200e3, semiangle_cutoff=21, interpolation=interpolation)
    probes = tuple(int(np.ceil(length / STEP)) for length in lengths)
    measured = matrix.scan(
        scan=abtem.GridScan((0, 0), tuple(lengths), gpts=probes, endpoint=False),
        detectors=[abtem.AnnularDetector(60, 100), abtem.AnnularDetector(0, 10)],
        ctf=abtem.CTF(energy=200e3, semiangle_cutoff=21),
        lazy=True,
    )
    images = [m.compute(scheduler="single-threaded").reduce_ensemble() for m in measured]
    return {k: np.asarray(m.array, np.float32).T for k, m in zip(("haadf", "bf"), images, strict=True)}


def hrtem(atoms: ase.Atoms, specimen: Specimen) -> NDArray[np.float32]:
    """Return the HRTEM image of the cell, (rows, columns), 1 in vacuum."""
    import abtem

    spherical, defocus, spread = LENSES[specimen.lens]
    wave = abtem.PlaneWave(energy=300e3).multislice(_potential(atoms, specimen, 4), lazy=True)
    lens = abtem.CTF(
        energy=300e3, Cs=spherical, defocus=defocus, focal_spread=spread, angular_spread=0.5, semiangle_cutoff=30
    )
    image = wave.apply_ctf(lens).intensity().compute(scheduler="single-threaded").reduce_ensemble()
    return np.asarray(image.array, np.float32).T


# ------------------------------------------------------------------------------------------------ micrographs
@dataclass(frozen=True)
class Micrograph:
    """A noise-free image, (256, 256), in fractions of the beam, and the columns that it shows.

    ``columns`` (n, 2) are row and column; ``strength`` (n,) is their ΣZ^1.7, 1 for the strongest.
    """

    name: str
    modality: Modality
    clean: NDArray[np.float32]
    pixel: float  # Å
    columns: NDArray[np.float64] | None
    strength: NDArray[np.float64] | None


def _frame(image: NDArray[np.float32], lengths: NDArray[np.float64], specimen: Specimen, vacuum: float):
    """Sample the cell's image (rows, columns) on the micrograph's pixels: Fourier up to 0.05 Å, then cubic splines."""
    from scipy.ndimage import map_coordinates

    fine = tuple(int(np.ceil(length / 0.05)) for length in lengths[::-1])
    big = _upsampled(image, fine)
    at = _to_cell(specimen, lengths, np.indices((SIZE, SIZE)).reshape(2, -1).T)  # Å, (n, (x, y))
    index = (at / lengths * fine[::-1])[:, ::-1].T
    out = map_coordinates(big, index, order=3, mode="grid-wrap").reshape(SIZE, SIZE)
    if specimen.edge == "vacuum":  # fades into vacuum within 2 Å of the cell's edge
        near = np.minimum(at, lengths - at).min(axis=1).reshape(SIZE, SIZE)
        out = vacuum + (out - vacuum) * np.clip(near / 2, 0, 1)
    return out


def _upsampled(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float64]:
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    pads = [((n + 1) // 2 - (m + 1) // 2, n // 2 - m // 2) for n, m in zip(shape, image.shape, strict=True)]
    if min(min(p) for p in pads) < 0:
        raise ValueError(f"an image of {image.shape} is finer than {shape}")
    pads = [p[::-1] for p in pads]  # the zero frequency is at n // 2
    return np.fft.ifft2(np.fft.ifftshift(np.pad(spectrum, pads))).real * (shape[0] * shape[1] / image.size)


def _to_cell(specimen: Specimen, lengths: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the places (n, (x, y)), Å, in the cell of pixels (n, (row, column))."""
    t = np.deg2rad(specimen.turned)
    turn = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    return (pixels[:, ::-1] - (SIZE - 1) / 2) * specimen.pixel @ turn.T + lengths / 2


def _columns(atoms: ase.Atoms, specimen: Specimen) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return row and column of each column within the image, and its ΣZ^1.7: atoms within 0.6 Å in projection."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    lengths = atoms.cell.lengths()[:2]
    wide = atoms.copy()
    if specimen.edge == "repeats":
        reach = (np.ceil(SIZE * specimen.pixel / np.sqrt(2) / lengths + 0.5)).astype(int)
        wide = wide.repeat((*(2 * reach + 1), 1))
        wide.positions[:, :2] -= reach * lengths
    t = np.deg2rad(specimen.turned)
    turn = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    pixels = ((wide.positions[:, :2] - lengths / 2) @ turn / specimen.pixel + (SIZE - 1) / 2)[:, ::-1]
    near = (np.abs(pixels - (SIZE - 1) / 2) < SIZE / 2 + 8).all(axis=1)
    pixels, weight = pixels[near], wide.numbers[near] ** 1.7
    pairs = cKDTree(pixels).query_pairs(MERGED / specimen.pixel, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(pixels), len(pixels)))
    n, label = connected_components(graph, directed=False)
    strength = np.bincount(label, weight, n)
    places = np.stack([np.bincount(label, weight * p, n) / strength for p in pixels.T], axis=1)
    inside = ((places > -0.5) & (places < SIZE - 0.5)).all(axis=1)
    return places[inside], strength[inside] / strength[inside].max()


def micrograph(name: str, modality: Modality, cache: Path, models: Path = MODELS) -> Micrograph:
    """Return a noise-free micrograph, made first where the cache lacks it."""
    from scipy.ndimage import gaussian_filter

    specimen = SPECIMENS[name]
    path = cache / "micrographs" / f"{name}-{'hrtem' if modality == 'hrtem' else 'stem'}.npz"
    atoms = specimen.build(models)
    if not path.exists():
        import abtem

        path.parent.mkdir(parents=True, exist_ok=True)
        with abtem.config.set({"diagnostics.progress_bar": False}):
            made = {"hrtem": hrtem(atoms, specimen)} if modality == "hrtem" else stem(atoms, specimen)
        np.savez(path, **made)
    with np.load(path) as file:
        image = file[modality]
    vacuum = 0.0 if modality == "haadf" else float(image[[0, 0, -1, -1], [0, -1, 0, -1]].mean())
    clean = _frame(image, atoms.cell.lengths()[:2], specimen, vacuum)
    if modality != "hrtem":
        clean = gaussian_filter(clean, SOURCE / specimen.pixel, mode="nearest")
    columns, strength = _columns(atoms, specimen) if specimen.columns else (None, None)
    clean = np.maximum(clean, 0).astype(np.float32)
    return Micrograph(name, modality, clean, specimen.pixel, columns, strength)


def exposed(image: Micrograph, dose: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (noisy, truth) in electrons per pixel at a dose in e/Å²: shot noise alone."""
    truth = image.clean * (dose * image.pixel**2)
    rng = np.random.default_rng([seed, int(dose), *map(ord, image.name + image.modality)])
    return rng.poisson(truth).astype(np.float32), truth.astype(np.float32)


def instrument(image: Micrograph, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (noisy, truth) in grey levels with the noise that was published with SFIN and SCGN.

    STEM: the image spans 160 levels above 20; pointwise SD 20 + 0.022 signal (here by variance), scan lines 7.6 or,
    on edges, 5.6 + 0.145 gradient, a background of SD 8. HRTEM: mean 12 levels, pointwise variance 1.7 + 0.132
    signal, column offsets of SD 0.62.
    """
    from splatom.simulate.noise import Noise

    rng = np.random.default_rng([seed, 1, *map(ord, image.name + image.modality)])
    if image.modality == "hrtem":
        truth = 12 * image.clean / image.clean.mean()
        noise = Noise(gain=0.132, readout=1.7**0.5, line=0.62, lines="columns")
    else:
        truth = 20 + 160 * (image.clean - image.clean.min()) / np.ptp(image.clean)
        noise = Noise(gain=0.9, readout=20.0, line=5.6, line_gradient=0.145, background=8.0)
    return np.asarray(noise.apply(truth.astype(np.float32), rng), np.float32), truth.astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--modalities", nargs="+", default=["hrtem", "haadf"])
    args = parser.parse_args()
    for modality in args.modalities:
        for name in args.names or SPECIMENS:
            began = time.perf_counter()
            clean = micrograph(name, modality, args.cache).clean
            print(name, modality, f"{time.perf_counter() - began:.0f} s, {clean.min():.3g} to {clean.max():.3g}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
