"""What is written comes back: pixels, hand, geometry, lengths."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from specimens import ANGLES, chiral_series, chiral_volume, handedness

from splatom import Atoms, GaussianCloud, TiltSeries, ViewGeometry, io
from splatom.data import Provenance, Step


@pytest.mark.parametrize("name", ["a.npz", "a.mrc", "a.st", "a.ali", "a.mrcs", "a.tif", "a.zarr"])
def test_a_series_comes_back_with_its_pixels_its_angles_and_its_hand(tmp_path: Path, name: str) -> None:
    series = chiral_series()
    io.write(tmp_path / name, series)
    back = io.read_series(tmp_path / name)
    assert np.array_equal(back.projections, series.projections)
    np.testing.assert_allclose(back.geometry.rotations, series.geometry.rotations, atol=1e-7)
    assert back.pixel_size == pytest.approx(0.4, rel=1e-6)
    assert not back.hand_known


@pytest.mark.parametrize("name", ["a.npz", "a.mrc", "a.rec", "a.map", "a.tif", "a.zarr"])
def test_a_volume_comes_back_with_its_voxels_its_origin_and_its_hand(tmp_path: Path, name: str) -> None:
    volume = chiral_volume().with_(origin_zyx=(1.0, -2.5, 30.0))
    io.write(tmp_path / name, volume)
    back = io.read_volume(tmp_path / name)
    assert np.array_equal(back.data, volume.data)
    assert handedness(back.data) == handedness(volume.data) > 0
    assert handedness(back.data[:, ::-1]) < 0
    assert back.voxel_size == pytest.approx(0.4, rel=1e-6)
    np.testing.assert_allclose(back.origin_zyx, volume.origin_zyx, atol=1e-3)


@pytest.mark.parametrize("name", ["a.npz", "a.mrc", "a.tif", "a.zarr"])
@pytest.mark.parametrize("size", [None, 0.1, 3.36])
def test_lengths_survive_known_or_not(tmp_path: Path, name: str, size: float | None) -> None:
    io.write(tmp_path / name, chiral_volume(size))
    io.write(tmp_path / ("s" + name), chiral_series(pixel_size=size))
    for found in (io.read_volume(tmp_path / name).voxel_size, io.read_series(tmp_path / ("s" + name)).pixel_size):
        assert found == (None if size is None else pytest.approx(size, rel=1e-6))


@pytest.mark.parametrize("axis", [0.0, 4.3, -37.0, 90.0])
@pytest.mark.parametrize("name", ["a.npz", "a.mrc", "a.tif", "a.zarr"])
def test_shifts_and_an_oblique_axis_survive(tmp_path: Path, name: str, axis: float) -> None:
    shifts = np.random.default_rng(1).normal(0, 5, (5, 2))
    series = chiral_series(ViewGeometry.single_axis(ANGLES, axis, shifts))
    io.write(tmp_path / name, series)
    back = io.read_series(tmp_path / name)
    np.testing.assert_allclose(back.geometry.rotations, series.geometry.rotations, atol=1e-7)
    np.testing.assert_allclose(back.geometry.shifts, shifts, atol=1e-5)


@pytest.mark.parametrize("name", ["a.npz", "a.tif", "a.zarr"])
def test_views_about_any_axis_survive(tmp_path: Path, name: str) -> None:
    euler = np.random.default_rng(2).uniform(-60, 60, (6, 3))
    series = chiral_series(ViewGeometry.from_euler(euler, np.ones((6, 2))))
    io.write(tmp_path / name, series)
    back = io.read_series(tmp_path / name)
    np.testing.assert_allclose(back.geometry.rotations, series.geometry.rotations, atol=1e-9)
    assert np.array_equal(back.geometry.shifts, series.geometry.shifts)


def test_an_mrc_series_refuses_views_it_cannot_hold(tmp_path: Path) -> None:
    series = chiral_series(ViewGeometry.from_euler([[5, 10, 0], [-40, 30, 9], [0, 60, -20]]))
    with pytest.raises(io.FileFault, match=r"more than one axis; write an \.npz"):
        io.write(tmp_path / "a.mrc", series)
    assert list(tmp_path.iterdir()) == []


def test_an_old_xf_does_not_change_a_series_written_without_shifts(tmp_path: Path) -> None:
    io.write(tmp_path / "a.mrc", chiral_series(ViewGeometry.single_axis(ANGLES, 0, np.ones((5, 2)))))
    io.write(tmp_path / "a.mrc", chiral_series())
    assert (tmp_path / "a.xf").exists()
    assert not io.read_series(tmp_path / "a.mrc").geometry.shifts.any()


@pytest.mark.parametrize("name", ["a.npz", "a.tif", "a.zarr"])
def test_every_field_of_a_series_survives(tmp_path: Path, name: str) -> None:
    flags = np.array([1, 0, 0, 1, 0], bool)
    history = Provenance("raw.mrc", (Step("prepare", "bin", {"factor": 2}, ((3, {"x": 1}),)),), {"hand": "told"}, "0.1")
    series = chiral_series(
        weights=np.arange(5.0), exposure=np.full(5, 2.5), synthetic=flags, held_out=~flags, order=[4, 2, 0, 1, 3],
        contrast="phase", scan="columns", hand_known=True, provenance=history,
    )  # fmt: skip
    io.write(tmp_path / name, series)
    back = io.read_series(tmp_path / name)
    for field in ("weights", "exposure", "synthetic", "held_out", "order"):
        assert np.array_equal(getattr(back, field), getattr(series, field)), field
    assert (back.contrast, back.scan, back.hand_known) == ("phase", "columns", True)
    assert back.provenance.steps == history.steps
    assert back.provenance.source == "raw.mrc"
    assert back.provenance.loading["hand"] == "told"


def test_mask_and_std_survive_in_npz(tmp_path: Path) -> None:
    mask = chiral_series().projections > 0.1
    io.write(tmp_path / "s.npz", chiral_series(mask=mask))
    assert np.array_equal(io.read_series(tmp_path / "s.npz").mask, mask)
    volume = chiral_volume()
    io.write(tmp_path / "v.npz", volume.with_(std=volume.data / 7))
    assert np.array_equal(io.read_volume(tmp_path / "v.npz").std, volume.data / 7)


def test_a_plain_series_is_written_with_the_keys_of_the_contract(tmp_path: Path) -> None:
    io.write(tmp_path / "a.npz", chiral_series())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file.files) == {"projections", "angles", "pixel_size", "provenance"}
        assert file["angles"].shape == (5,)
        assert np.array_equal(file["angles"], ANGLES)


@pytest.mark.parametrize("keys", [{}, {"pixel_size": 0.02}])
def test_an_image_comes_back_as_an_image_with_the_same_keys(tmp_path: Path, keys: dict[str, float]) -> None:
    image = np.random.default_rng(0).random((6, 9)).astype(np.float32)
    np.savez(tmp_path / "in.npz", image=image, **keys)
    series = io.read(tmp_path / "in.npz")
    assert isinstance(series, TiltSeries)
    assert series.provenance.loading["image"] is True
    io.write(tmp_path / "out.npz", series)
    with np.load(tmp_path / "out.npz") as file:
        assert set(file.files) == {"image", *keys}
        assert np.array_equal(file["image"], image)
    for name in ("out.mrc", "out.tif", "out.zarr"):
        io.write(tmp_path / name, series)
        back = io.read(tmp_path / name)
        assert io.describe(tmp_path / name)["kind"] == "image"
        assert np.array_equal(back.projections[0], image)
        assert back.pixel_size == (pytest.approx(keys["pixel_size"]) if keys else None)


def test_hdf5_keeps_the_hand(tmp_path: Path) -> None:
    series, volume = chiral_series(), chiral_volume()
    with h5py.File(tmp_path / "s.emd", "w") as file:
        group = file.create_group("data/tilts")
        group.attrs["emd_group_type"] = 1
        group["data"] = series.projections
        for i, (values, unit) in enumerate([(ANGLES, "[deg]"), (np.arange(20) * 4, "[Å]"), (np.arange(16) * 4, "[Å]")]):
            group[f"dim{i + 1}"] = values
            group[f"dim{i + 1}"].attrs["units"] = unit
    back = io.read_series(tmp_path / "s.emd")
    assert np.array_equal(back.projections, series.projections)
    np.testing.assert_allclose(back.angles, ANGLES)
    assert back.pixel_size == pytest.approx(0.4)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["volume"] = volume.data
    assert handedness(io.read_volume(tmp_path / "v.h5").data) == handedness(volume.data)


def test_data_exchange_angles_are_found(tmp_path: Path) -> None:
    series = chiral_series()
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["exchange/data"] = series.projections
        file["exchange/theta"] = ANGLES
    back = io.read_series(tmp_path / "s.h5")
    np.testing.assert_allclose(back.angles, ANGLES)
    assert np.array_equal(back.projections, series.projections)


def test_atoms_are_extended_xyz_that_ase_reads(tmp_path: Path) -> None:
    import ase.io

    rng = np.random.default_rng(3)
    atoms = Atoms(
        rng.normal(0, 2, (7, 3)), np.array(["Au", "Pt", "X", "Co", "Pd", "Au", "H"]), rng.random((7, 3)) / 100,
        amplitude=rng.random(7), b_factor=rng.random(7), occupancy=np.ones(7),
    )  # fmt: skip
    io.write(tmp_path / "a.xyz", atoms)
    assert "Properties=species:S:1:pos:R:3:sigma:R:3:amplitude:R:1" in (tmp_path / "a.xyz").read_text()
    there = ase.io.read(tmp_path / "a.xyz")
    np.testing.assert_allclose(there.positions, atoms.positions_zyx[:, ::-1] * 10, rtol=1e-8)
    np.testing.assert_allclose(there.arrays["sigma"], atoms.sigma_zyx[:, ::-1] * 10, rtol=1e-8)
    back = io.read_atoms(tmp_path / "a.xyz")
    assert back.species.tolist() == atoms.species.tolist()
    for field in ("positions_zyx", "sigma_zyx", "amplitude", "b_factor", "occupancy"):
        np.testing.assert_allclose(getattr(back, field), getattr(atoms, field), rtol=1e-8)


def test_what_ase_writes_is_read(tmp_path: Path) -> None:
    import ase.io

    positions, symbols = np.arange(6.0).reshape(2, 3), np.array(["Au", "Cu"])
    atoms = Atoms(positions, symbols, np.full((2, 3), 0.01), amplitude=np.array([3.0, 4]))
    ase.io.write(tmp_path / "a.xyz", atoms.to_ase(), format="extxyz")
    back = io.read_atoms(tmp_path / "a.xyz")
    np.testing.assert_allclose(back.positions_zyx, atoms.positions_zyx, atol=1e-8)
    np.testing.assert_allclose(back.sigma_zyx, 0.01)
    np.testing.assert_allclose(back.amplitude, [3, 4])


def test_sigma_and_amplitude_are_always_written_and_unknown_stays_unknown(tmp_path: Path) -> None:
    io.write(tmp_path / "a.xyz", Atoms(np.ones((2, 3))))
    assert "sigma:R:3:amplitude:R:1" in (tmp_path / "a.xyz").read_text()
    assert (tmp_path / "a.xyz").read_text().splitlines()[2].split()[4:] == ["0", "0", "0", "1"]
    back = io.read_atoms(tmp_path / "a.xyz")
    assert back.sigma_zyx is None
    assert back.amplitude is None


def test_a_cloud_of_gaussians_survives(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    cloud = GaussianCloud(rng.normal(size=(5, 3)), rng.random((5, 3)), rng.random(5), ids=np.arange(5) * 3)
    cloud = cloud.with_(species=np.array(["Au"] * 5), uncertainty=rng.random(5))
    io.write(tmp_path / "c.npz", cloud)
    back = io.read(tmp_path / "c.npz")
    assert isinstance(back, GaussianCloud)
    for field in ("centres_zyx", "scales", "mass", "rotations", "ids", "species", "uncertainty"):
        assert np.array_equal(getattr(back, field), getattr(cloud, field)), field
    assert io.describe(tmp_path / "c.npz")["n_gaussians"] == 5


def test_ome_zarr_follows_the_standard(tmp_path: Path) -> None:
    io.write(tmp_path / "v.ome.zarr", chiral_volume())
    reader = pytest.importorskip("ome_zarr.reader")
    from ome_zarr.io import parse_url

    node = next(iter(reader.Reader(parse_url(tmp_path / "v.ome.zarr"))()))
    assert [axis["name"] for axis in node.metadata["axes"]] == ["z", "y", "x"]
    assert np.array_equal(np.asarray(node.data[0]), chiral_volume().data)


@pytest.mark.parametrize("name", ["a.npz", "a.mrc", "a.tif", "a.zarr"])
def test_an_interrupted_save_leaves_the_old_file_whole(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from splatom.io import mrc, npz, omezarr, tiff

    io.write(tmp_path / name, chiral_series())
    before = sorted(p.name for p in tmp_path.iterdir())
    for module, writer in ((npz, "write_npz"), (mrc, "write_stack"), (tiff, "write_tiff"), (omezarr, "write_zarr")):
        real = getattr(module, writer)

        def interrupted(*args: object, real: object = real) -> None:
            real(*args)  # type: ignore[operator]
            raise KeyboardInterrupt

        monkeypatch.setattr(module, writer, interrupted)
    with pytest.raises(KeyboardInterrupt):
        io.write(tmp_path / name, chiral_series().with_(projections=np.ones((5, 20, 16), np.float32)))
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert np.array_equal(io.read_series(tmp_path / name).projections, chiral_series().projections)


def test_importing_io_imports_no_heavy_library() -> None:
    code = (
        "import sys, splatom.io;"
        "heavy = {'torch', 'h5py', 'zarr', 'scipy', 'tifffile', 'mrcfile', 'napari', 'ase', 'PIL'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr


def test_float32_pixels_of_an_mrc_file_stay_mapped(tmp_path: Path) -> None:
    io.write(tmp_path / "a.mrc", chiral_series())
    pixels = io.read_series(tmp_path / "a.mrc").projections
    owner = pixels
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    assert isinstance(owner, np.memmap)
