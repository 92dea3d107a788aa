"""Bad files: one line that names the file and the fault, and nothing else happens."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from specimens import ANGLES, chiral_series, chiral_volume

from splatom import Atoms, ViewGeometry, io

FORMATS = ["a.npz", "a.mrc", "a.tif", "a.h5", "a.mat", "a.npy", "a.png", "a.xyz"]


def make(path: Path, images: np.ndarray | None = None) -> Path:
    """Write a good file of each format, by a program of its own where there is one."""
    images = chiral_series().projections if images is None else images
    match path.suffix:
        case ".h5":
            with h5py.File(path, "w") as file:
                file["projections"], file["angles"] = images, ANGLES
        case ".mat":
            from scipy.io import savemat

            savemat(path, {"stack": np.moveaxis(images, 0, 2), "angles": ANGLES}, do_compression=True)
        case ".npy":
            np.save(path, images)
        case ".png":
            from PIL import Image

            Image.fromarray((images[0] * 50).astype(np.uint8)).save(path)
        case ".xyz":
            io.write(path, Atoms(np.arange(12.0).reshape(4, 3)))
        case ".tif":
            tifffile.imwrite(path, images)
        case ".npz":
            np.savez(path, projections=images, angles=ANGLES)
        case ".mrc":
            with mrcfile.new(path, images, overwrite=True) as file:
                file.set_image_stack()
    return path


def fault(path: Path, **wishes: object) -> str:
    """Return the one line that reading gives, after checking that it is one and names the file."""
    with pytest.raises(io.FileFault) as caught:
        io.read(path, **wishes)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(caught.value.path))
    return line


@pytest.mark.parametrize("name", FORMATS)
def test_a_good_file_is_read(tmp_path: Path, name: str) -> None:
    wishes = {"angles": ANGLES} if name in ("a.mrc", "a.tif", "a.npy") else {}
    value = io.read(make(tmp_path / name), **wishes)
    if name not in ("a.xyz", "a.png"):
        assert np.array_equal(value.projections, chiral_series().projections)
        assert value.angles.tolist() == ANGLES.tolist()


@pytest.mark.parametrize("name", [*FORMATS, "a.dm3", "a.zarr", "a.foo"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    assert "no such file" in fault(tmp_path / name)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_truncated_file(tmp_path: Path, name: str, share: float) -> None:
    path = make(tmp_path / name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    fault(path, **({} if name in ("a.xyz", "a.png") else {"angles": ANGLES}))


@pytest.mark.parametrize("name", [*FORMATS, "a.rec", "a.hspy", "a.emd"])
def test_an_empty_file_and_a_text_file_of_that_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    assert "0 bytes" in fault(path)
    path.write_text("these are the notes of a long night at the microscope\n" * 60)
    fault(path)


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid"), reason="needs permissions of POSIX")
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_permission(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / name)
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything: the call of the system is refused instead
        real = Path.open

        def refuse(self: Path, *args: object, **more: object) -> object:
            if self == path:
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, *args, **more)

        def refuse_any(*args: object, **more: object) -> object:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refuse)
        monkeypatch.setattr("h5py.File", refuse_any)
        monkeypatch.setattr("tifffile.TiffFile", refuse_any)
        monkeypatch.setattr("zipfile.ZipFile", refuse_any)
        monkeypatch.setattr("PIL.Image.open", refuse_any)
    assert "permission" in fault(path, **({} if name in ("a.xyz", "a.png") else {"angles": ANGLES})).lower()


def test_a_folder_without_images(tmp_path: Path) -> None:
    assert "folder without images" in fault(tmp_path)
    (tmp_path / "empty.zarr").mkdir()
    assert "no Zarr" in fault(tmp_path / "empty.zarr") or "not a Zarr" in fault(tmp_path / "empty.zarr")


@pytest.mark.parametrize("name", ["a.npz", "a.mrc", "a.tif", "a.h5", "a.mat", "a.npy"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_counted(tmp_path: Path, name: str, bad: float) -> None:
    images = chiral_series().projections.copy()
    images[2, 3, 4:7] = bad
    assert "3 values that are not finite" in fault(make(tmp_path / name, images), angles=ANGLES)


@pytest.mark.parametrize("name", ["a.npz", "a.mrc", "a.tif", "a.h5", "a.mat", "a.npy"])
def test_complex_data(tmp_path: Path, name: str) -> None:
    images = chiral_series().projections.astype(np.complex64)
    assert "complex" in fault(make(tmp_path / name, images), angles=ANGLES)


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.npy"])
def test_zero_size(tmp_path: Path, name: str) -> None:
    images = np.zeros((5, 0, 16), np.float32)
    assert "is empty" in fault(make(tmp_path / name, images), angles=ANGLES)


def test_zero_size_in_an_mrc_header(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mrc")
    content = bytearray(path.read_bytes())
    content[4:8] = bytes(4)
    path.write_bytes(content)
    assert "is empty" in fault(path)


@pytest.mark.parametrize("name", ["a.npz", "a.mrc", "a.tif", "a.h5", "a.mat", "a.npy"])
def test_a_wrong_count_of_angles(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name)
    assert "4 angles (from user) for 5 projections" in fault(path, angles=ANGLES[:4])
    listing = tmp_path / "list.txt"
    listing.write_text("1\n2\n3\n")
    assert "3 angles" in fault(path, angles=listing)


def test_a_rawtlt_of_another_count_is_a_fault(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mrc")
    (tmp_path / "a.rawtlt").write_text("1\n2\n3\n")
    assert "holds 3 angles but a.mrc has 5 projections" in fault(path)


@pytest.mark.parametrize("text", ["", "one\ntwo", "1 2\n3 4", "nan\n1\n2\n3\n4", "1\n\n2 x"])
def test_a_bad_list_of_angles(tmp_path: Path, text: str) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(text)
    assert "list.txt" in fault(make(tmp_path / "a.mrc"), angles=str(listing))


@pytest.mark.parametrize("name", ["a.mrc", "a.tif", "a.npy"])
def test_without_angles_the_user_is_asked(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name)
    with pytest.raises(io.AnglesMissing, match="--angles") as caught:
        io.read(path)
    assert caught.value.n_tilts == 5
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.n_tilts) == (str(caught.value), 5)
    assert io.describe(path)["angles"] is None
    assert io.read(path, kind="volume").shape == (5, 20, 16)


def test_a_2d_image_is_no_series(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=np.ones((4, 5)))
    for path in (tmp_path / "a.npz", make(tmp_path / "a.png")):
        with pytest.raises(io.FileFault, match=r"2-D image of shape .* where a tilt series is needed"):
            io.read_series(path)
        with pytest.raises(io.FileFault, match="2-D image"):
            io.read_volume(path)
        assert len(io.read(path)) == 1


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    io.write(tmp_path / "v.npz", chiral_volume())
    io.write(tmp_path / "v.mrc", chiral_volume())
    io.write(tmp_path / "a.xyz", Atoms(np.ones((1, 3))))
    for path in tmp_path.iterdir():
        with pytest.raises(io.FileFault, match=r"not a tilt series|where a series"):
            io.read_series(path)
    with pytest.raises(io.FileFault, match="not"):
        io.read_atoms(tmp_path / "v.npz")


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", projections=np.array([{"a": 1}], dtype=object), angles=ANGLES)
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object))
    assert "pickled" in fault(tmp_path / "a.npz")
    assert "pickled" in fault(tmp_path / "a.npy")


def test_keys_that_make_no_series(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", some=np.ones(3), other=np.ones(4))
    assert "expected projections and angles, image, or volume" in fault(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", projections=np.ones((2, 3)), angles=[0, 1])
    assert "(2, 3)" in fault(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", projections=np.ones((2, 3, 3)), angles=[0, 1], weights=np.ones(3))
    assert "weights" in fault(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", projections=np.ones((2, 3, 3)), angles=[0, 1], contrast="sepia")
    assert "contrast" in fault(tmp_path / "a.npz")


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan])
def test_a_pixel_size_that_is_none(tmp_path: Path, size: float) -> None:
    np.savez(tmp_path / "a.npz", projections=np.ones((2, 3, 3)), angles=[0, 1], pixel_size=size)
    assert "pixel size" in fault(tmp_path / "a.npz")


def test_a_colour_image(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((5, 6, 3), np.uint8), photometric="rgb")
    assert "colour" in fault(tmp_path / "a.tif")


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dm3").write_bytes(b"\0" * 100)
    monkeypatch.setattr("splatom.io.rosetta.find_spec", lambda name: None)
    assert 'pip install "splatom[formats]"' in fault(tmp_path / "a.dm3")


def test_a_damaged_zarr_says_so(tmp_path: Path) -> None:
    io.write(tmp_path / "a.zarr", chiral_series())
    chunk = next(p for p in (tmp_path / "a.zarr" / "0").rglob("*") if p.is_file() and not p.name.startswith("."))
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:20])
    fault(tmp_path / "a.zarr")
    chunk.unlink()
    assert "missing" in fault(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / ".zattrs").write_text("{")
    fault(tmp_path / "a.zarr")


def test_writing_where_one_cannot(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "none" / "a.mrc", "no folder"),
        (tmp_path / "a.foo", "not as '.foo'"),
        (tmp_path / "a.xyz", "not as '.xyz'"),
    ):
        with pytest.raises(io.FileFault, match=words):
            io.write(path, chiral_series())
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(io.FileFault, match=r"no Zarr folder"):
        io.write(tmp_path / "mine.zarr", chiral_volume())
    assert (tmp_path / "mine.zarr" / "thesis.txt").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.zarr"]


@pytest.mark.parametrize("name", ["a.npz", "a.mrc", "a.tif", "a.zarr"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from splatom.io import mrc, npz, omezarr, tiff

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    for module, writer in ((npz, "write_npz"), (mrc, "write_stack"), (tiff, "write_tiff"), (omezarr, "write_zarr")):
        monkeypatch.setattr(module, writer, full)
    with pytest.raises(io.FileFault, match="No space left"):
        io.write(tmp_path / name, chiral_series())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_the_bytes_there_is_a_value_or_a_fault(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = make(tmp_path / name, np.asarray(chiral_series().projections[:, :6, :5]))
    content = bytearray(path.read_bytes())
    # Headers matter most: half of the blows fall into the first kilobyte, the rest anywhere.
    for _ in range(data.draw(st.integers(0, 8))):
        limit = data.draw(st.sampled_from([min(1024, len(content)), len(content)]))
        content[data.draw(st.integers(0, limit - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), data.draw(st.integers(0, len(content)))]))])
    try:
        value = io.read(path, angles=None if name in ("a.xyz", "a.png") else ANGLES)
    except io.FileFault as error:
        assert "\n" not in str(error)
    else:
        assert len(value) > 0
    try:
        io.describe(path)
    except io.FileFault as error:
        assert str(error)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200))
@pytest.mark.parametrize("reader", [io.read_xf, lambda p: io.read(p)])
def test_any_text_is_a_table_or_a_fault(tmp_path: Path, text: str, reader: object) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(text, encoding="utf-8")
    try:
        reader(path)  # type: ignore[operator]
    except io.FileFault as error:
        assert str(path) in str(error)


def test_mdoc_text_is_never_trusted(tmp_path: Path) -> None:
    (tmp_path / "a.mdoc").write_text("[ZValue = 0]\nTiltAngle = e.-+\n[ZValue = 1]\n")
    assert "a.mdoc" in fault(make(tmp_path / "b.mrc"), angles=tmp_path / "a.mdoc")


def test_geometry_with_shifts_is_not_put_into_an_aligned_stack(tmp_path: Path) -> None:
    with pytest.raises(io.FileFault, match="aligned already"):
        io.write(tmp_path / "a.ali", chiral_series(ViewGeometry.single_axis(ANGLES, 0, np.ones((5, 2)))))
