"""Images of atoms: what physics demands of them, and abTEM's potentials and multislice as a second opinion."""

import numpy as np
import pytest

from splatom.data import Atoms
from splatom.geometry import ViewGeometry
from splatom.simulate.crystals import aligned, ball, block, crystal
from splatom.simulate.micrograph import Ctf, bf, channelling, haadf, hrtem
from splatom.simulate.projection import project_atoms
from splatom.simulate.scattering import (
    cross_section,
    interaction,
    projected_potential,
    scattering_factor,
    wavelength,
)

FLAT = ViewGeometry.single_axis([0.0])


def lone(element, at=(0.0, 0.0, 0.0)):
    return Atoms(np.array([at]), np.array([element]))


def column(atoms, spacing=0.4):
    return Atoms(np.stack([np.arange(atoms) * spacing, np.zeros(atoms), np.zeros(atoms)], 1), np.full(atoms, "Au"))


# ------------------------------------------------------------------------------------------------ scattering
def test_electrons_have_their_wavelength_and_interaction():
    assert wavelength(300) == pytest.approx(0.00196875, rel=1e-4)
    assert wavelength(80) == pytest.approx(0.00417572, rel=1e-4)
    assert interaction(300) == pytest.approx(0.006526, rel=1e-3)  # rad / (V nm), Kirkland's table
    assert interaction(100) == pytest.approx(0.009244, rel=1e-3)


def test_cross_sections_fall_with_the_angle_and_the_voltage_and_rise_with_the_element():
    angles = [cross_section("Au", beyond, 200) for beyond in (0, 5, 10, 20, 50, 100)]
    assert (np.diff(angles) < 0).all()
    assert cross_section("Au", 0, 80) > cross_section("Au", 0, 300)
    # Nearly Rutherford's Z² at high angles, weaker in total.
    high = np.log(cross_section("Au", 60, 300) / cross_section("Cu", 60, 300)) / np.log(79 / 29)
    total = np.log(cross_section("Au", 0, 300) / cross_section("Cu", 0, 300)) / np.log(79 / 29)
    assert 1.7 < high < 2.1 and total < high
    # The integral in closed form is the integral.
    k = np.geomspace(0.02 / wavelength(200), 1e5, 200_000)
    mass = 1 + 200 / 510.999
    numeric = np.trapezoid((mass * scattering_factor("Cu", k)) ** 2 * 2 * np.pi * k, k) * wavelength(200) ** 2
    assert cross_section("Cu", 20, 200) == pytest.approx(numeric, rel=1e-3)


def test_a_potential_s_integral_is_the_forward_scattering_factor():
    image = projected_potential(lone("Si"), FLAT, (200, 200), 0.02)
    assert image.sum() * 0.02**2 == pytest.approx(0.47878 * scattering_factor("Si", np.zeros(1))[0], rel=0.02)
    # Off the grid it is the same image, displaced.
    moved = projected_potential(lone("Si", (0, 0.013, 0.027)), FLAT, (200, 200), 0.02)[0]
    rows, columns = np.indices(moved.shape)
    assert (moved * columns).sum() / moved.sum() - 99.5 == pytest.approx(0.027 / 0.02, abs=0.02)
    assert (moved * rows).sum() / moved.sum() - 99.5 == pytest.approx(0.013 / 0.02, abs=0.02)
    with pytest.raises(ValueError, match="no scattering factor"):
        projected_potential(lone("X"), FLAT, (16, 16), 0.02)


# ------------------------------------------------------------------------------------------------ dark field
def test_a_plain_dark_field_is_the_projection_of_atoms():
    atoms = crystal("Au", ball(1.5))
    views = ViewGeometry.single_axis([-20.0, 0.0, 45.0])
    np.testing.assert_array_equal(haadf(atoms, views, (64, 64), 0.03), project_atoms(atoms, views, (64, 64), 0.03))


def test_dark_field_goes_as_a_power_of_the_atomic_number():
    gold, carbon = (haadf(lone(e), FLAT, (64, 64), 0.02, power=2.0).sum() for e in ("Au", "C"))
    assert gold / carbon == pytest.approx((79 / 6) ** 2, rel=1e-5)


def test_thickness_makes_dark_field_brighter_but_less_and_less():
    slabs = [crystal("Au", block(6, 6, t)) for t in (5, 10, 20, 40)]
    linear, real = ([haadf(s, FLAT, (16, 16), 0.1, saturation_nm=n).mean() for s in slabs] for n in (np.inf, 20.0))
    assert (np.diff(real) > 0).all()
    ratio = np.array(real) / linear
    assert (np.diff(ratio) < 0).all() and ratio[0] > 0.85 and ratio[-1] < 0.5
    assert max(real) < 58.9 * 20


def test_only_a_crystal_in_line_with_the_beam_channels():
    atoms = crystal("Au", ball(3.0), aligned((1, 0, 0)))
    on = channelling(atoms, np.eye(3), 0.6)
    off = channelling(atoms, ViewGeometry.single_axis([7.0]).rotations[0], 0.6)
    assert on.min() == 1 and 1.5 < on.max() <= 1.6 + 1e-9
    assert off.mean() - 1 < 0.35 * (on.mean() - 1)
    # The atoms towards the beam are those that see it undisturbed.
    first = np.argsort(atoms.positions_zyx[:, 0])[:20]
    np.testing.assert_allclose(on[first], 1)
    tilted = ViewGeometry.single_axis([0.0, 7.0])
    plain, bright = (haadf(atoms, tilted, (64, 64), 0.06, channelling_strength=s).sum(axis=(1, 2)) for s in (0, 0.6))
    assert bright[0] / plain[0] > 1.1 and bright[1] / plain[1] < 1 + 0.35 * (bright[0] / plain[0] - 1)


def test_a_column_is_brighter_with_every_atom():
    totals = [haadf(column(n), FLAT, (48, 48), 0.02, channelling_strength=0.6).sum() for n in range(1, 40)]
    steps = np.diff(totals)
    assert (steps > 0).all()
    assert np.argmax(steps) == pytest.approx(5, abs=1)  # the seventh atom has six above it


# ------------------------------------------------------------------------------------------------ bright field
def test_bright_field_is_one_in_vacuum_and_falls_with_thickness_as_beer_says():
    slabs = [crystal("Au", block(6, 6, t), aligned((1, 0.3, 0.17))) for t in (2, 4, 8, 16)]
    passed = np.array([bf(s, FLAT, (16, 16), 0.1, sigma_nm=0.3).mean() for s in slabs])
    assert (np.diff(passed) < 0).all() and passed.max() < 1
    mean_free_path = 1 / (58.9 * cross_section("Au", 15, 300))
    np.testing.assert_allclose(-np.log(passed), np.array([2, 4, 8, 16]) / mean_free_path, rtol=0.03)
    assert bf(lone("Au", (0, 30.0, 0)), FLAT, (16, 16), 0.1).min() == pytest.approx(1, abs=1e-6)


# ------------------------------------------------------------------------------------------------ phase contrast
def test_transfer_crosses_zero_where_the_aberration_says():
    ctf = Ctf(300, 60.0, 1200.0, 0, 0)
    k = np.linspace(0.01, 8, 80_000)
    found = k[1:][np.diff(np.sign(ctf.transfer(k))) != 0]
    # χ = nπ with u = λk²: Cs λ u²/2 − Δf u − n = 0 (in nm), n = −1, 0, 1, 2 ...
    lam, cs = wavelength(300), 1200e3
    roots = []
    for n in range(-4, 40):
        square = 60.0**2 + 2 * n * lam * cs
        if square >= 0:
            u = np.array([60 - square**0.5, 60 + square**0.5]) / (lam * cs)
            roots += [v**0.5 for v in u / lam if 0 < v < 64]
    assert len(found) > 5
    np.testing.assert_allclose(found, np.sort(roots)[: len(found)], atol=2e-4)


def test_scherzer_s_focus_has_a_wide_band_of_one_sign():
    ctf = Ctf.scherzer(300, 1000.0, focal_spread_nm=0.0, convergence_mrad=0.0)
    k = np.linspace(1.5, 4.9, 500)
    assert (ctf.transfer(k) < 0).all()
    assert ctf.transfer(k).min() < -0.99


def test_incoherence_damps_high_frequencies_the_more_the_worse():
    k = np.array([8.0])
    sharp, spread, wide = (Ctf(focal_spread_nm=s, convergence_mrad=c) for s, c in ((1, 0.05), (4, 0.05), (1, 0.5)))
    one, two, three = (c.phase_and_envelope(k)[1][0] for c in (sharp, spread, wide))
    assert 1 > one > two > 0 and one > three


def test_atoms_are_dark_below_focus_and_bright_above():
    ctf = {"focal_spread_nm": 1.0, "convergence_mrad": 0.05}
    under = hrtem(lone("Cu"), FLAT, (65, 65), 0.02, ctf=Ctf(300, 8.0, 0.0, **ctf))[0]
    over = hrtem(lone("Cu"), FLAT, (65, 65), 0.02, ctf=Ctf(300, -8.0, 0.0, **ctf))[0]
    assert under[32, 32] < 0.97 and over[32, 32] > 1.03
    np.testing.assert_allclose(under.mean(), 1, atol=2e-3)  # phase contrast moves electrons and takes none
    for linear, rest in ((True, 1e-6), (False, 0.1)):
        flat = hrtem(lone("Cu"), FLAT, (65, 65), 0.02, ctf=Ctf(300, 0.0, 0.0, 0.0, 0.0), linear=linear)
        np.testing.assert_allclose(flat, 1, atol=rest)


def test_a_weak_object_s_phase_grating_is_linear():
    light = lone("H")
    one, other = (hrtem(light, FLAT, (64, 64), 0.02, linear=linear) for linear in (True, False))
    np.testing.assert_allclose(one - 1, other - 1, atol=0.02 * np.abs(one - 1).max())


def test_a_crystal_s_fringes_have_its_spacing():
    atoms = crystal("Si", block(9, 9, 3), aligned((1, 1, 0), (0, 0, 1)))
    image = hrtem(atoms, FLAT, (256, 256), 0.025, ctf=Ctf.scherzer(300, 600.0))[0]
    power = np.abs(np.fft.fft2((image - image.mean()) * np.outer(np.hanning(256), np.hanning(256)))) ** 2
    ky, kx = np.meshgrid(*(np.fft.fftfreq(256, 0.025),) * 2, indexing="ij")
    strongest = np.argmax(np.where(np.hypot(ky, kx) > 1, power, 0))
    assert np.hypot(ky, kx).flat[strongest] == pytest.approx(1 / 0.3135, abs=0.08)  # {111}


# ------------------------------------------------------------------------------------------------ abTEM
@pytest.mark.parametrize("element", ["C", "O", "Si", "Ti", "Cu", "Mo", "Ag", "Au"])
def test_scattering_factors_are_lobato_s(element):
    lobato = pytest.importorskip("abtem.parametrizations").LobatoParametrization()
    k = np.linspace(0, 15, 60)
    theirs = np.asarray(lobato.scattering_factor(element)((k / 10) ** 2)) / 10
    np.testing.assert_allclose(scattering_factor(element, k), theirs, rtol=0.05 if element in "CO" else 0.025)


def in_abtem(atoms, edge, depth):
    cell = atoms.to_ase()
    cell.set_cell([edge * 10, edge * 10, depth * 10])
    cell.positions += [edge * 5, edge * 5, depth * 5]
    cell.pbc = True
    return cell


def test_projected_potentials_are_abtem_s():
    abtem = pytest.importorskip("abtem")
    atoms = Atoms(np.array([[0, 0, 0], [0, 0.3, 0.41], [0, -0.35, 0.2]]), np.array(["Au", "Si", "O"]))
    theirs = abtem.Potential(
        in_abtem(atoms, 2.0, 1.0), gpts=100, slice_thickness=10, projection="infinite", parametrization="lobato"
    )
    theirs = np.asarray(theirs.build(lazy=False).project().array, dtype=np.float64).T / 10  # V nm, rows along y
    # abTEM's image begins on a grid point at the corner, ours has the field's centre in the middle of its pixels.
    ours = projected_potential(atoms, FLAT, (101, 101), 0.02, sigma_nm=0.0)[0][:100, :100]
    theirs, ours = (_smooth(image) for image in (theirs, ours))
    assert np.corrcoef(theirs.ravel(), ours.ravel())[0, 1] > 0.999
    assert np.abs(theirs - ours).max() < 0.04 * theirs.max()


def _smooth(image):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, 1.5, mode="wrap")


@pytest.mark.parametrize("material", ["graphene", "MoS2"])
def test_a_thin_object_s_image_is_that_of_multislice(material):
    abtem = pytest.importorskip("abtem")
    sheet = crystal(material, block(2.4, 2.4, 1))
    with abtem.config.set({"diagnostics.progress_bar": False}):
        potential = abtem.Potential(in_abtem(sheet, 4.0, 1.0), gpts=400, slice_thickness=1, parametrization="lobato")
        exit_wave = abtem.PlaneWave(energy=300e3).multislice(potential).compute()
        for defocus, cs in ((6.0, 0.0), (20.0, 0.0), (-6.0, -20.0)):
            # Its wave leaves the cell 0.5 nm below the sheet, and a focal spread is √2 standard deviations there.
            lens = abtem.CTF(energy=300e3, defocus=10 * defocus + 5, Cs=1e4 * cs, focal_spread=30 * 2**0.5)
            theirs = np.asarray(exit_wave.apply_ctf(lens).intensity().compute().array, dtype=np.float64).T[::2, ::2]
            for linear, alike, size in ((False, 0.995, 0.05), (True, 0.98, 0.1)):
                ctf = Ctf(300, defocus, cs, 3.0, 0.0)
                ours = hrtem(sheet, FLAT, (201, 201), 0.02, ctf=ctf, linear=linear, sigma_nm=0.0)[0][:200, :200]
                a, b = (image[40:160, 40:160].ravel() for image in (theirs, ours))
                assert np.corrcoef(a, b)[0, 1] > alike, (defocus, cs, linear)
                assert b.std() / a.std() == pytest.approx(1, abs=size), (defocus, cs, linear)
