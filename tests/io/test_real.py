"""The readers and the geometry's conventions, pinned on real and independently simulated data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from splatom import TiltSeries, ViewGeometry, io

pytestmark = pytest.mark.real


def splat(series: TiltSeries, positions_zyx: np.ndarray, sigma_nm: float) -> np.ndarray:
    """Project atoms as equal Gaussians into every view of a series, (n, rows, columns)."""
    n, height, width = series.shape
    out = np.zeros(series.shape, np.float32)
    sigma = sigma_nm / series.pixel_nm
    seen = series.geometry.project(positions_zyx, series.pixel_nm, (height, width))
    for i in range(n):
        across = np.exp(-((np.arange(width) - seen[i, :, :1]) ** 2) / (2 * sigma**2))
        along = np.exp(-((np.arange(height) - seen[i, :, 1:]) ** 2) / (2 * sigma**2))
        out[i] = along.T @ across
    return out


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normalised cross-correlation of each pair of images, (n,)."""
    a = (a - a.mean((1, 2), keepdims=True)).reshape(len(a), -1)
    b = (b - b.mean((1, 2), keepdims=True)).reshape(len(b), -1)
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))


def test_the_gold_particles_atoms_project_onto_its_images(shared_data: Path) -> None:
    series = io.read_series(shared_data / "au_wedge47.npz")[::9]
    atoms = io.read_atoms(shared_data / "au_wedge47_truth.xyz")
    right = correlation(splat(series, atoms.positions_zyx, 0.06), series.projections)
    assert right.min() > 0.99  # 0.997 measured
    # Each other sign convention is visibly wrong, so the test does tell them apart.
    for flip in ([-1, 1, 1], [1, -1, 1], [1, 1, -1]):
        mirrored = correlation(splat(series, atoms.positions_zyx * flip, 0.06), series.projections)
        assert mirrored.mean() < right.mean() - 0.02


def test_the_published_atoms_of_the_tantalum_film_project_onto_its_measured_images(shared_data: Path) -> None:
    series = io.read_series(shared_data / "aet_ta_area23.npz")
    atoms = io.read_atoms(shared_data / "aet_ta_area23_reference.xyz")
    # Atoms beyond the first and last row are not in the list, but their images (σ 1.9 pixels) reach 2 σ inside.
    inside = slice(4, -4)
    found = correlation(splat(series, atoms.positions_zyx, 0.06)[:, inside], series.projections[:, inside])
    assert found.mean() >= 0.9  # 0.906 measured; 0.896 with the outermost rows
    transposed = series.with_(geometry=ViewGeometry(series.geometry.rotations.transpose(0, 2, 1)))
    assert correlation(splat(transposed, atoms.positions_zyx, 0.06), series.projections).mean() < 0.8


def test_the_needle_has_an_old_fei_header_and_its_angles(shared_data: Path, tmp_path: Path) -> None:
    series = io.read_series(shared_data / "nist_needle" / "HAADF.mrc")
    assert series.shape == (77, 256, 256)
    np.testing.assert_allclose(series.angles, np.arange(-76, 77, 2))
    assert series.pixel_size == pytest.approx(3.36)
    assert series.contrast == "adf"
    assert series.provenance.loading["angles_from"] == "HAADF.rawtlt"
    assert "no MAP stamp" in " ".join(series.provenance.loading["notes"])
    shutil.copy(shared_data / "nist_needle" / "HAADF.mrc", tmp_path / "alone.mrc")
    alone = io.read_series(tmp_path / "alone.mrc")
    assert alone.provenance.loading["angles_from"] == "extended header"
    np.testing.assert_allclose(alone.angles, series.angles, atol=1e-3)
    assert np.array_equal(alone.projections, series.projections)


def test_the_needles_published_alignment_has_the_same_rows_as_the_raw_file(shared_data: Path) -> None:
    raw = io.read_series(shared_data / "nist_needle" / "HAADF.mrc").projections[38]
    aligned = io.read_series(shared_data / "nist_needle" / "aligned.npz").projections[38]

    def best(image: np.ndarray) -> float:
        """Highest correlation over all shifts."""
        a, b = (np.fft.rfft2(v - v.mean()) for v in (image, raw))
        return float(np.fft.irfft2(a * b.conj()).max() / np.sqrt((image - image.mean()).var() * raw.var()) / raw.size)

    assert best(aligned) > 0.99
    assert best(aligned[::-1]) < best(aligned) - 0.005
    assert best(aligned[:, ::-1]) < best(aligned) - 0.005


def test_serialem_angles_pixel_and_axis(shared_data: Path, tmp_path: Path) -> None:
    series = io.read_series(shared_data / "formats" / "test_000.mrc")
    np.testing.assert_allclose(series.angles, [0, 0], atol=1e-3)
    assert series.provenance.loading["angles_from"] == "test_000.mdoc"
    assert series.pixel_size == pytest.approx(0.788)
    assert series.provenance.loading["axis_from"] == "header"
    shutil.copy(shared_data / "formats" / "test_000.mrc", tmp_path / "a.mrc")
    shutil.copy(shared_data / "formats" / "test_000.mdoc", tmp_path / "a.mrc.mdoc")
    assert io.read_series(tmp_path / "a.mrc").provenance.loading["angles_from"] == "a.mrc.mdoc"
    told = io.read_series(tmp_path / "a.mrc", angles=[-10, 10], axis_degrees=0, pixel_size=1, contrast="bf")
    assert told.angles.tolist() == [-10, 10]
    assert (told.pixel_size, told.contrast, told.geometry.is_single_axis) == (1, "bf", True)


def test_the_cryo_alignment_becomes_geometry(shared_data: Path) -> None:
    series = io.read_series(shared_data / "cryo" / "cryoet_empiar10499_ts_bin2.npz")
    assert series.pixel_size == pytest.approx(2.0)
    np.testing.assert_allclose(series.angles, io.angles.read_angles(shared_data / "cryo" / "00254.tlt"), atol=0.02)
    aligned = io.apply_xf(series, shared_data / "cryo" / "00254.xf", binning=2)
    assert aligned.geometry.axis_degrees == pytest.approx(-4.3, abs=0.05)
    np.testing.assert_allclose(aligned.angles, series.angles, atol=1e-6)
    # In the raw image, a point on the axis is seen where A (X − Xc) + d says: IMOD's own formula, undone.
    matrices, d = io.read_xf(shared_data / "cryo" / "00254.xf")
    np.testing.assert_allclose(matrices @ aligned.geometry.shifts[:, :, None] * 2, -d[:, :, None], atol=1e-9)


def test_the_liquid_cell_series_with_repeats(shared_data: Path) -> None:
    series = io.read_series(shared_data / "emat_n6_liquid_haadf.mat")
    assert series.shape == (116, 256, 256)
    assert len(np.unique(series.groups())) == 46 or series.groups().max() == 46
    assert (series.angles.min(), series.angles.max()) == (-46, 44) or series.angles.max() == 46
    # Frames of one angle show the same thing, those 40 degrees apart do not.
    same, far = (correlation(series.projections[[0]], series.projections[[i]])[0] for i in (1, 50))
    assert same > far


def test_hyperspy_files(shared_data: Path) -> None:
    stack = io.read_series(shared_data / "stem_images" / "stem_abf_data_imagestack.hspy", angles=[0] * 5)
    assert stack.pixel_size == pytest.approx(0.0092024, rel=1e-4)
    assert stack.contrast == "bf"
    image = io.read(shared_data / "stem_images" / "test_ADF_cropped.hdf5")
    assert image.shape == (1, 400, 380)
    assert image.provenance.loading["image"] is True
    assert image.pixel_size is None
    assert "no unit" in " ".join(image.provenance.loading["notes"])


def test_an_array_alone_in_an_hdf5_file(shared_data: Path) -> None:
    with pytest.raises(io.AnglesMissing) as caught:
        io.read_series(shared_data / "stem_images" / "exp_hrstem.h5")
    assert caught.value.n_tilts == 5
    assert io.read(shared_data / "stem_images" / "exp_hrstem.h5", angles=range(5)).shape == (5, 768, 768)


def test_dm3_stack_and_folder(shared_data: Path) -> None:
    pytest.importorskip("rsciio")
    stack = io.read_series(shared_data / "formats" / "HAADF.dm3")
    np.testing.assert_allclose(stack.angles, np.arange(-90, 91, 2))
    assert stack.pixel_size == pytest.approx(17.995, rel=1e-3)
    assert stack.contrast == "adf"
    folder = io.read_series(shared_data / "formats", angles="names")
    assert folder.angles.tolist() == [1, 2, 3]
    assert folder.contrast == "bf"
    one = io.read(shared_data / "formats" / "BF_002.dm3")
    assert np.array_equal(one.projections[0], folder.projections[1])


def test_a_damaged_dm3_file_is_a_fault(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("rsciio")
    whole = (shared_data / "formats" / "BF_001.dm3").read_bytes()
    path = tmp_path / "BF_001.dm3"
    for at in (5, 100, 700, 3000, 40_000):
        head, tail = whole[:at], whole[at + 8 :]
        for content in (head, head + bytes(8) + tail, head + b"\xff" * 8 + tail):
            path.write_bytes(content)
            try:
                assert io.read(path).shape == (1, 128, 128)
            except io.FileFault as fault:
                assert str(path) in str(fault)


def test_ser_and_emi(shared_data: Path) -> None:
    pytest.importorskip("rsciio")
    ser = io.read(shared_data / "stem_images" / "16_STOimage_1.ser")
    emi = io.read(shared_data / "stem_images" / "16_STOimage.emi")
    assert ser.pixel_size == pytest.approx(0.0100127, rel=1e-4)
    assert np.array_equal(ser.projections, emi.projections)


def test_describing_reads_no_pixels(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "memmap", None)
    monkeypatch.setattr(np, "load", None)
    said = io.describe(shared_data / "nist_needle" / "HAADF.mrc")
    assert (said["kind"], said["shape"], len(said["angles"])) == ("series", [77, 256, 256], 77)
