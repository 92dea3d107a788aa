"""One front for the images of every kind of specimen: how it is looked at, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import Atoms, Contrast, Volume
from splatom.simulate.ellipsoids import Ellipsoids
from splatom.simulate.micrograph import Ctf, bf, gold_mean_free_path, haadf, hrtem, saturated
from splatom.simulate.projection import project_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.geometry import ViewGeometry

__all__ = ["Imaging", "Microscope"]

Imaging = Literal["haadf", "bf", "hrtem"]

_SOLID_NM = 100.0  # thickness of density 1 after which 1 − 1/e of the electrons are lost to bright field


@dataclass(frozen=True)
class Microscope:
    """How a specimen is imaged. The defaults give its linear projection.

    Parameters
    ----------
    imaging : {'haadf', 'bf', 'hrtem'}
        HRTEM is for atoms alone.
    saturation_nm : float, optional
        Thickness in nm, of gold (atoms) or of density 1 (volumes), after which 1 − 1/e of the electrons are scattered
        to the dark-field detector or out of the bright-field one. Dark field is linear without it; bright field takes
        the elements' cross-sections (atoms) or 100 nm.
    channelling : float
        Strength of :func:`splatom.simulate.micrograph.channelling` in atoms. A volume knows no lattice: one tilt in
        fifteen, at random, is brighter by ``1 + channelling · I/I_max``, as where a crystal lines up.
    voltage_kv : float
    defocus_nm : float, optional
        Underfocus is positive; Scherzer's by default. HRTEM only.
    cs_um : float
        Spherical aberration, HRTEM only.
    """

    imaging: Imaging = "haadf"
    saturation_nm: float | None = None
    channelling: float = 0.0
    voltage_kv: float = 300.0
    defocus_nm: float | None = None
    cs_um: float = 1000.0

    @property
    def contrast(self) -> Contrast:
        """What a tilt series calls it."""
        names: dict[str, Contrast] = {"haadf": "adf", "bf": "bf", "hrtem": "phase"}
        return names[self.imaging]

    @property
    def ctf(self) -> Ctf:
        """Transfer of the microscope in HRTEM."""
        if self.defocus_nm is None:
            return Ctf.scherzer(self.voltage_kv, self.cs_um)
        return Ctf(self.voltage_kv, self.defocus_nm, self.cs_um)

    def images(
        self,
        specimen: Volume | Atoms | Ellipsoids,
        geometry: ViewGeometry,
        detector_shape: tuple[int, int],
        pixel_size: float,
        rng: np.random.Generator | None = None,
    ) -> NDArray[np.float32]:
        """Noise-free images, (n_views, height, width).

        Raises
        ------
        ValueError
            If HRTEM is asked of anything but atoms.
        """
        if isinstance(specimen, Atoms):
            return self._of_atoms(specimen, geometry, detector_shape, pixel_size)
        if self.imaging == "hrtem":
            raise ValueError("HRTEM is simulated for atoms only; this specimen is a volume: choose haadf or bf")
        if isinstance(specimen, Ellipsoids):
            linear = specimen.project(geometry, detector_shape, pixel_size, oversample=2).astype(np.float32)
        else:
            linear = project_volume(specimen, geometry, detector_shape, pixel_size)
        if self.channelling > 0:
            lined_up = (rng or np.random.default_rng(0)).random(len(geometry)) < 1 / 15
            linear[lined_up] *= 1 + self.channelling * linear[lined_up] / max(float(linear.max()), 1e-30)
        if self.imaging == "bf":
            return np.exp(-np.maximum(linear, 0) / (self.saturation_nm or _SOLID_NM), dtype=np.float32)
        return saturated(linear, self.saturation_nm or np.inf)

    def _of_atoms(
        self, atoms: Atoms, geometry: ViewGeometry, shape: tuple[int, int], pixel_size: float
    ) -> NDArray[np.float32]:
        if self.imaging == "hrtem":
            return hrtem(atoms, geometry, shape, pixel_size, ctf=self.ctf)
        if self.imaging == "haadf":
            limit = self.saturation_nm or np.inf
            return haadf(
                atoms, geometry, shape, pixel_size, saturation_nm=limit, channelling_strength=self.channelling
            )
        voltage, strength = self.voltage_kv, self.channelling
        images = bf(atoms, geometry, shape, pixel_size, voltage_kv=voltage, channelling_strength=strength)
        if self.saturation_nm is None:
            return images
        # The same shadows, made as deep as gold of that mean free path casts them.
        return images ** np.float32(gold_mean_free_path(voltage) / self.saturation_nm)
