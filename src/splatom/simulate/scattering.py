"""Electron scattering by single atoms: factors, cross-sections and projected potentials."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from splatom.simulate.images import wavelength_angstrom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import Atoms
    from splatom.geometry import ViewGeometry

__all__ = ["cross_section", "interaction", "projected_potential", "scattering_factor", "wavelength"]

_REST_KEV = 510.99895
_H2_OVER_2PI_M_E = 0.4787801  # h² / (2π m₀ e) in V nm²


def wavelength(voltage_kv: float) -> float:
    """Relativistic wavelength of electrons in nm."""
    return wavelength_angstrom(voltage_kv) / 10


def interaction(voltage_kv: float) -> float:
    """Phase in radians for a projected potential of 1 V nm: ``2π m e λ / h²``, m relativistic."""
    mass = 1 + voltage_kv / _REST_KEV
    return float(mass * wavelength(voltage_kv) / _H2_OVER_2PI_M_E)


@cache
def _lorentzians() -> dict[str, NDArray[np.float64]]:
    """Heights a (nm) and widths b (1/nm) of every element, (2, 3)."""
    lines = (line.split() for line in _TABLE.strip().splitlines())
    return {symbol: np.array(values, dtype=np.float64).reshape(2, 3) for symbol, *values in lines}


def _of(element: str) -> NDArray[np.float64]:
    try:
        return _lorentzians()[element]
    except KeyError:
        raise ValueError(f"no scattering factor is known for '{element}'; name an element from H to Cf") from None


def scattering_factor(element: str, k: NDArray[np.float64]) -> NDArray[np.float64]:
    """Electron scattering factor in the first Born approximation, for the rest mass of the electron.

    Three Lorentzians, ``f(k) = Σ a / (1 + (k/b)²)``, fitted by us to the parametrisation of Lobato and Van Dyck (Acta
    Cryst. A 70, 636, 2014) as abTEM computes it, for k up to 30 1/nm (`benchmarks/scattering_factors.py`): within 6 %
    of it for the lightest elements, 3.3 % from F to Ar and 1.8 % beyond, below 15 1/nm.

    Parameters
    ----------
    element : str
    k : array
        Spatial frequency ``2 sin(θ/2)/λ`` in 1/nm.

    Returns
    -------
    array
        In nm, of the shape of k.
    """
    a, b = _of(element)
    k2 = np.square(k)[..., None]
    out: NDArray[np.float64] = (a / (1 + k2 / b**2)).sum(axis=-1)
    return out


def cross_section(element: str, beyond_mrad: float, voltage_kv: float) -> float:
    """Cross-section in nm² for elastic scattering to angles beyond one, in the first Born approximation.

    ``σ = ∫ |m/m₀ f(k)|² dΩ`` with ``dΩ = λ² 2π k dk``: in closed form, since f is a sum of Lorentzians. The Born
    approximation overrates heavy elements (gold by about half).
    """
    a, b = _of(element)
    mass, length = 1 + voltage_kv / _REST_KEV, wavelength(voltage_kv)
    q = (beyond_mrad / 1000 / length) ** 2
    total = 0.0
    for a1, u in zip(a, b**2, strict=True):
        for a2, v in zip(a, b**2, strict=True):
            # ∫_q^∞ u v / ((u + s)(v + s)) ds, s = k²
            same = abs(u - v) < 1e-6 * u
            total += a1 * a2 * (u * u / (u + q) if same else u * v / (u - v) * np.log((u + q) / (v + q)))
    return float(np.pi * length**2 * mass**2 * total)


def projected_potential(
    atoms: Atoms,
    geometry: ViewGeometry,
    detector_shape: tuple[int, int],
    pixel_size: float,
    *,
    sigma_nm: float = 0.008,
) -> NDArray[np.float64]:
    """Potential of atoms integrated along the beam.

    Summed exactly in Fourier space, ``Σ f(k) exp(−2πi k·r)``: no grid, no rounding of places. A margin keeps what
    leaves one side from coming in at the other.

    Parameters
    ----------
    atoms : Atoms
    geometry : ViewGeometry
    detector_shape : tuple
        ``(height, width)`` in pixels.
    pixel_size : float
        In nm.
    sigma_nm : float
        Thermal displacement per axis in nm, as a Debye-Waller factor; where an atom has a ``b_factor``, its place.

    Returns
    -------
    array (n_views, height, width), float64
        In V nm.

    Raises
    ------
    ValueError
        If an element is not known.
    """
    height, width = detector_shape
    margin = int(np.ceil(0.4 / pixel_size))
    shape = (height + 2 * margin, width + 2 * margin)
    ky, kx = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    k = np.hypot(ky[:, None], kx[None, :]) / pixel_size
    widths = np.full(len(atoms), sigma_nm) if atoms.b_factor is None else atoms.b_factor
    kinds = sorted({(str(s), float(w)) for s, w in zip(atoms.species, widths, strict=True)})
    places = geometry.project(atoms.positions_zyx, pixel_size, shape)
    out = np.empty((len(geometry), height, width))
    for view, place in enumerate(places):
        spectrum = np.zeros(k.shape, dtype=np.complex128)
        for element, sigma in kinds:
            at = place[(atoms.species == element) & (widths == sigma)]
            near = ((at > -margin) & (at < np.array(shape[::-1]) + margin)).all(axis=1)
            column, row = at[near].T
            points = np.exp(-2j * np.pi * np.outer(ky, row)) @ np.exp(-2j * np.pi * np.outer(column, kx))
            spectrum += points * scattering_factor(element, k) * np.exp(-2 * (np.pi * k * sigma) ** 2)
        image = np.fft.irfft2(spectrum, shape) * _H2_OVER_2PI_M_E / pixel_size**2
        out[view] = image[margin : margin + height, margin : margin + width]
    return out


# Element, heights in nm, widths in 1/nm; printed by benchmarks/scattering_factors.py.
_TABLE = """
H 0.02583 0.02745 0.002253 4.335 4.335 4.335
He 0.02899 0.004757 0.008879 7.02 7.02 7.02
Li 0.2707 0.06768 0.008149 2.001 2.001 15.41
Be 0.08385 0.2361 0.001363 2.886 2.886 80.69
B 0.007344 0.1721 0.1103 3.665 3.665 3.665
C 0.006387 0.121 0.1329 4.361 4.361 4.361
N 0.02326 0.152 0.05714 5.102 5.102 5.102
O 0.04521 0.152 0.01145 5.861 5.861 5.861
F 0.02006 0.1183 0.04856 6.67 6.67 6.67
Ne 0.02885 0.02434 0.1155 7.495 7.495 7.496
Na 0.1004 0.2834 0.1082 1.922 1.922 9.197
Mg 0.1533 0.3164 0.06577 2.56 2.56 11.5
Al 0.2605 0.2996 0.04261 2.839 2.839 14.19
Si 0.3601 0.2113 0.02527 3.283 3.283 18.42
P 0.3729 0.1823 0.01399 3.76 3.76 26.06
S 0.2361 0.2938 0.007409 4.229 4.229 45.76
Cl 0.171 0.3283 0.004448 4.679 4.683 147.4
Ar 0.08358 0.3858 0.003259 5.118 5.119 199.3
K 0.5687 0.3407 0.002883 1.657 5.899 403.4
Ca 0.785 0.2202 0.002259 2.16 7.088 403.4
Sc 0.723 0.2194 0.001892 2.344 7.339 403.4
Ti 0.6657 0.2218 0.001466 2.489 7.6 403.4
V 0.6158 0.2235 0.001009 2.615 7.896 403.4
Cr 0.4652 0.03891 0.2413 2.451 7.737 7.737
Mn 0.5373 0.1493 0.07145 2.849 8.628 8.628
Fe 0.4972 0.05936 0.167 2.919 8.814 8.814
Co 0.462 0.05546 0.1746 2.979 9.035 9.035
Ni 0.4321 0.07241 0.1587 3.042 9.293 9.293
Cu 0.2838 0.2372 0.04373 2.789 8.987 8.987
Zn 0.3816 0.1789 0.05258 3.097 9.87 9.87
Ga 0.318 0.1996 0.2009 2.991 2.991 10.66
Ge 0.2966 0.2925 0.1622 3.286 3.286 11.76
As 0.4345 0.1915 0.1274 3.659 3.659 13.09
Se 0.3895 0.2547 0.09798 4.049 4.049 14.66
Br 0.2322 0.4169 0.07205 4.476 4.476 16.78
Kr 0.2954 0.3525 0.05102 4.898 4.898 19.69
Rb 0.7048 0.4238 0.05266 1.779 5.862 18.39
Sr 1.023 0.2552 0.03579 2.249 7.773 20.47
Y 1 0.2315 0.03755 2.515 7.858 20.63
Zr 0.9445 0.237 0.0384 2.712 7.593 21.12
Nb 0.6493 0.4316 0.0383 2.503 6.13 22.3
Mo 0.5799 0.4749 0.03229 2.514 6.17 24.34
Tc 0.5174 0.5077 0.02668 2.527 6.279 26.89
Ru 0.4611 0.5324 0.02174 2.536 6.426 30.09
Rh 0.411 0.549 0.01736 2.547 6.608 34.44
Pd 0.03699 0.7061 0.01583 2.115 6.214 37.75
Ag 0.2805 0.5768 0.01121 2.693 6.938 47.91
Cd 0.4443 0.477 0.006477 3.04 7.681 403.4
In 0.6256 0.4175 0.005504 2.922 8.273 403.4
Sn 0.7615 0.3404 0.004447 3.152 9.102 403.4
Sb 0.8539 0.2678 0.003363 3.467 10.14 403.4
Te 0.4914 0.4454 0.1836 3.882 3.882 12.39
I 0.3654 0.5946 0.1453 4.188 4.188 13.62
Xe 0.3944 0.5811 0.1127 4.486 4.486 15.11
Cs 0.9286 0.6636 0.06067 1.745 5.908 18.85
Ba 1.345 0.4645 0.02084 2.12 7.766 29.1
La 1.343 0.4159 0.02424 2.373 7.999 26.68
Ce 1.249 0.4746 0.01933 2.184 7.967 29.89
Pr 1.207 0.4765 0.01847 2.209 8.103 30.3
Nd 1.169 0.4768 0.01771 2.233 8.251 30.62
Pm 1.134 0.4756 0.0171 2.257 8.407 30.79
Sm 1.103 0.4729 0.01636 2.274 8.588 31.03
Eu 1.072 0.4703 0.0163 2.302 8.731 30.75
Gd 1.109 0.4124 0.01467 2.568 9.35 30.79
Tb 1.015 0.4633 0.01673 2.353 9.025 29.66
Dy 0.9894 0.4589 0.01711 2.378 9.177 29.06
Ho 0.9663 0.4533 0.01745 2.397 9.349 28.46
Er 0.9435 0.4479 0.01821 2.419 9.503 27.71
Tm 0.9233 0.441 0.01906 2.437 9.677 26.93
Yb 0.9038 0.4348 0.01954 2.445 9.865 26.4
Lu 0.9494 0.3857 0.01557 2.728 10.61 27.27
Hf 0.9597 0.3429 0.02288 2.992 10.96 23.31
Ta 0.9489 0.2892 0.0576 3.22 10.63 18.71
W 0.9165 0.2274 0.1205 3.407 9.363 16.55
Re 0.8733 0.2168 0.1465 3.564 8.24 16.29
Os 0.8058 0.2566 0.1461 3.676 7.482 16.69
Ir 0.219 0.7126 0.1259 3.136 5.902 18.02
Pt 0.3902 0.6203 0.108 3.137 6.478 19.09
Au 0.2676 0.6905 0.1001 3.316 6.392 19.85
Hg 0.4358 0.5689 0.09255 3.665 6.893 20.47
Tl 0.5978 0.5366 0.07733 3.248 7.452 21.93
Pb 0.7928 0.4546 0.06303 3.267 8.308 23.54
Bi 0.9462 0.363 0.0487 3.514 9.493 25.57
Po 1.044 0.2861 0.03684 3.827 10.88 27.76
At 1.12 0.2214 0.01672 4.185 13.31 35.78
Rn 0.5889 0.5904 0.1717 4.505 4.505 17.05
Fr 0.9235 0.8403 0.1119 1.816 5.787 20.53
Ra 1.381 0.6099 0.07066 2.18 7.302 24.68
Ac 1.478 0.5123 0.06266 2.473 7.977 25.83
Th 1.538 0.4308 0.05807 2.748 8.613 26.53
Pa 1.378 0.5451 0.05506 2.57 8.003 27.81
U 1.328 0.564 0.05034 2.599 8.056 29.2
Np 1.282 0.5805 0.04526 2.623 8.148 30.94
Pu 1.093 0.6895 0.04364 2.432 7.745 32.18
Am 1.054 0.6975 0.03879 2.454 7.888 34.46
Cm 1.134 0.6222 0.03273 2.695 8.443 37.54
Bk 1.106 0.6263 0.02833 2.715 8.621 41.33
Cf 0.9571 0.706 0.02645 2.521 8.375 44.58
"""
