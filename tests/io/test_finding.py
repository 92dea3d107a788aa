"""What lies in headers and beside a file is found, and what was decided is said."""

from __future__ import annotations

import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.io import savemat
from specimens import ANGLES, chiral_series
from test_faults import make

from splatom import ViewGeometry, io

IMAGES = chiral_series().projections


@pytest.mark.parametrize("kind", [b"FEI1", b"FEI2"])
def test_fei_extended_headers_hold_angles_and_pixel_size(tmp_path: Path, kind: bytes) -> None:
    from mrcfile.dtypes import get_ext_header_dtype

    records = np.zeros(5, get_ext_header_dtype(kind, "<"))
    records["Metadata size"], records["Alpha tilt"], records["Pixel size X"] = records.itemsize, ANGLES, 0.4e-9
    with mrcfile.new(tmp_path / "a.mrc", IMAGES) as file:
        file.set_image_stack()
        file.set_extended_header(records)
        file.header.exttyp = kind
    series = io.read_series(tmp_path / "a.mrc")
    np.testing.assert_allclose(series.angles, ANGLES)
    assert series.pixel_size == pytest.approx(0.4)


def test_serialem_extended_header_holds_angles_in_hundredths(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mrc")
    content = bytearray(path.read_bytes())
    records = b"".join(struct.pack("<hhh", round(a * 100), 7, 8) for a in ANGLES)
    content[92:96] = struct.pack("<i", len(records))
    content[104:108] = b"SERI"
    content[128:132] = struct.pack("<hh", 6, 3)
    content[1024:1024] = records
    path.write_bytes(content)
    series = io.read_series(path)
    np.testing.assert_allclose(series.angles, ANGLES)
    assert np.array_equal(series.projections, IMAGES)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f2", "f4"])
def test_every_pixel_type_and_byte_order(tmp_path: Path, dtype: str, order: str) -> None:
    images = (IMAGES * 20).astype(np.dtype(dtype).newbyteorder(order))
    with mrcfile.new(tmp_path / "a.st") as file:
        file.set_data(images)
    assert np.array_equal(io.read_series(tmp_path / "a.st", angles=ANGLES).projections, images.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.rawtlt", "\n".join(f" {a:.2f}" for a in ANGLES)),
        ("a.tlt", "\n".join(str(a) for a in ANGLES) + "\n\n"),
        ("a.txt", "# degrees\n" + "\n".join(str(a) for a in ANGLES)),
        ("a.csv", "image,tilt_angle\n" + "\n".join(f"{i},{a}" for i, a in enumerate(ANGLES))),
        ("a_angles.txt", " ".join(str(a) for a in ANGLES)),
        ("a.mdoc", "\n".join(f"[ZValue = {i}]\nTiltAngle = {a}" for i, a in enumerate(ANGLES))),
        ("a.mrc.mdoc", "\n".join(f"[ZValue = {i}]\nTiltAngle = {a}" for i, a in reversed(list(enumerate(ANGLES))))),
    ],
)
def test_angles_are_found_beside_the_file(tmp_path: Path, name: str, text: str) -> None:
    path = make(tmp_path / "a.mrc")
    (tmp_path / name).write_text(text)
    series = io.read_series(path)
    np.testing.assert_allclose(series.angles, ANGLES)
    assert series.provenance.loading["angles_from"] == name


def test_a_log_of_the_same_name_is_left_aside_and_said(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mrc")
    (tmp_path / "a.txt").write_text("Tilt Axis Angle: 90.00\nDynamic focus: OFF\n")
    with pytest.raises(io.AnglesMissing, match=r"a\.txt left aside"):
        io.read(path)


def test_a_rec_file_is_a_volume_even_beside_the_angles_of_its_series(tmp_path: Path) -> None:
    (tmp_path / "a.rawtlt").write_text("\n".join(map(str, ANGLES)))
    make(tmp_path / "a.mrc").rename(tmp_path / "a.rec")
    value = io.read(tmp_path / "a.rec")
    assert value.shape == IMAGES.shape
    assert "volume" in " ".join(value.provenance.loading["notes"])
    assert len(io.read_series(tmp_path / "a.rec").angles) == 5


def test_a_file_stamped_as_a_volume_is_one_unless_angles_say_otherwise(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.mrc", IMAGES) as file:
        file.set_volume()
    assert io.describe(tmp_path / "a.mrc")["kind"] == "volume"
    assert "space group 1" in " ".join(io.read(tmp_path / "a.mrc").provenance.loading["notes"])
    assert io.read(tmp_path / "a.mrc", angles=ANGLES).angles.tolist() == ANGLES.tolist()


def test_imod_transforms_beside_a_raw_stack_are_applied(tmp_path: Path) -> None:
    """A bead that IMOD brings to p in the aligned image is predicted where it is in the raw one."""
    path = make(tmp_path / "a.mrc")
    (tmp_path / "a.rawtlt").write_text("\n".join(map(str, ANGLES)))
    turn, shifts = np.deg2rad(7.0), np.random.default_rng(0).normal(0, 3, (5, 2))
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    (tmp_path / "a.xf").write_text(
        "".join(" ".join(f"{v:.9f}" for v in [*matrix.ravel(), *d]) + "\n" for d in shifts), encoding="ascii"
    )
    series = io.read_series(path)
    assert series.provenance.loading["transforms_from"] == "a.xf"
    assert series.geometry.axis_degrees == pytest.approx(-7, abs=1e-6)
    centre = np.array([15, 19]) / 2
    bead = np.array([[1.3, -0.7, 0.4]])  # in the aligned frame, nm, zyx
    aligned = ViewGeometry.single_axis(ANGLES).project(bead, 1.0, (20, 16))[:, 0] - centre
    raw = np.linalg.solve(matrix, (aligned - shifts).T).T
    there = bead.copy()
    there[0, :0:-1] = np.linalg.solve(matrix, bead[0, :0:-1])  # the specimen frame turns with the raw image
    np.testing.assert_allclose(series.geometry.project(there, 1.0, (20, 16))[:, 0] - centre, raw, atol=1e-6)
    assert np.array_equal(series.projections, IMAGES)


def test_a_folder_of_pictures_in_natural_order(tmp_path: Path) -> None:
    from PIL import Image

    for i, angle in ((2, -20), (10, 35), (1, -60)):
        Image.fromarray(np.full((4, 6), i, np.uint8)).save(tmp_path / f"tilt{i}_{angle}.png")
    with pytest.raises(io.AnglesMissing):
        io.read(tmp_path)
    series = io.read(tmp_path, angles="names")
    assert series.projections[:, 0, 0].tolist() == [1, 2, 10]
    assert series.angles.tolist() == [-60, -20, 35]
    (tmp_path / "all.rawtlt").write_text("-61\n-21\n36\n")
    assert io.read(tmp_path).angles.tolist() == [-61, -21, 36]
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "tilt11_40.png")
    with pytest.raises(io.FileFault, match=r"tilt11_40\.png: is \(5, 6\) pixels"):
        io.read(tmp_path)


def test_matlab_files_of_atomic_electron_tomography(tmp_path: Path) -> None:
    euler = np.random.default_rng(1).uniform(-60, 60, (5, 3))
    savemat(tmp_path / "projections.mat", {"projections": np.moveaxis(IMAGES, 0, 2)})
    with pytest.raises(io.AnglesMissing):
        io.read(tmp_path / "projections.mat")
    savemat(tmp_path / "refined_angles.mat", {"refined_angles": euler})
    series = io.read_series(tmp_path / "projections.mat")
    assert np.array_equal(series.projections, IMAGES)
    np.testing.assert_allclose(series.geometry.rotations, ViewGeometry.from_euler(euler).rotations)
    assert series.provenance.loading["angles_from"] == "refined_angles.mat"


def test_imagej_and_ome_pixel_sizes(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "j.tif", IMAGES, imagej=True, resolution=(2.5, 2.5), metadata={"unit": "nm"})
    tifffile.imwrite(
        tmp_path / "o.ome.tif", IMAGES, metadata={"PhysicalSizeX": 4.0, "PhysicalSizeXUnit": "Å", "axes": "ZYX"}
    )
    tifffile.imwrite(tmp_path / "print.tif", IMAGES, resolution=(300, 300), resolutionunit="INCH")
    for name, size in (("j.tif", 0.4), ("o.ome.tif", 0.4), ("print.tif", None)):
        found = io.read(tmp_path / name, angles=ANGLES).pixel_size
        assert found == (None if size is None else pytest.approx(size)), name


def test_bright_field_is_read_from_the_name(tmp_path: Path) -> None:
    for name, contrast in (("BF_1.npy", "bf"), ("x-ABF.npy", "bf"), ("HAADF.npy", "adf"), ("subfolder.npy", "adf")):
        np.save(tmp_path / name, IMAGES)
        assert io.read(tmp_path / name, angles=ANGLES).contrast == contrast, name
    assert io.read(tmp_path / "BF_1.npy", angles=ANGLES, contrast="phase").contrast == "phase"
