"""The commands keep their contract: words, files, exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from splatom.cli import main
from splatom.io import read
from splatom.recipe import Recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("commands")
    assert main(["simulate", "ellipsoids", str(out / "in.npz"), "--truth", str(out / "truth.mrc"), "--size", "32",
                 "--angles", "-60:60:6", "--quiet"]) == 0  # fmt: skip
    return out


def call(capsys, *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        status = main([str(w) for w in words])
    except SystemExit as exc:
        status = int(exc.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def test_methods_are_listed_as_json(capsys) -> None:
    status, out, _ = call(capsys, "methods", "--json")
    listed = json.loads(out)
    assert status == 0
    assert {"group", "name", "summary", "params"} == set(listed[0])
    names = {(m["group"], m["name"]) for m in listed}
    for name in ["crop", "bin", "rotate", "clean", "normalise", "align", "tilt-axis", "exclude"]:
        assert ("prepare", name) in names
    for name in ["wbp", "sirt", "cgls", "tv"]:
        assert ("reconstruct", name) in names
    assert all(m["summary"] for m in listed)


def test_listing_methods_imports_no_torch() -> None:
    code = "import sys; from splatom.cli import main; main(['methods', '--json']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_a_run_writes_volume_report_and_recipe(folder, capsys) -> None:
    words = ["reconstruct", "sirt", folder / "in.npz", folder / "v.mrc", "--iterations", 12, "--hold-out", "0.2"]
    status, out, err = call(capsys, *words, "--report", folder / "r.json", "--recipe", folder / "r.yaml")
    assert (status, out) == (0, "")
    assert "r_free" in err
    report = json.loads((folder / "r.json").read_text())
    assert report["seconds"] > 0
    assert report["peak_memory_mb"] > 10
    assert 0 < report["r"] < report["r_free"] < 1
    volume, truth = read(folder / "v.mrc"), read(folder / "truth.mrc")
    assert volume.shape == truth.shape == (32, 32, 32)
    assert volume.voxel_size == pytest.approx(truth.voxel_size)
    status, out, _ = call(capsys, "evaluate", folder / "v.mrc", folder / "truth.mrc", "--json")
    assert status == 0
    assert json.loads(out)["psnr"] > 15


def test_a_recipe_replays_to_the_same_bits(folder, capsys) -> None:
    words = ["reconstruct", "tv", folder / "in.npz", folder / "a.npz", "--iterations", 9, "--recipe", folder / "t.yaml"]
    assert call(capsys, *words)[0] == 0
    assert call(capsys, "run", folder / "t.yaml", folder / "in.npz", folder / "b.npz")[0] == 0
    np.testing.assert_array_equal(read(folder / "a.npz").data, read(folder / "b.npz").data)
    recipe = Recipe.load(folder / "t.yaml")
    assert "splatom reconstruct tv" in recipe.to_commands()
    assert "--iterations 9" in recipe.to_commands()


def test_a_recipe_shown_as_python_runs_to_the_same_bits(folder) -> None:
    words = ["reconstruct", "sirt", folder / "in.npz", folder / "p.npz", "--iterations", "4", "--no-non-negative"]
    main([str(w) for w in [*words, "--recipe", folder / "p.yaml", "--quiet"]])
    code = Recipe.load(folder / "p.yaml").to_python().replace("p.npz", "q.npz")
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(read(folder / "p.npz").data, read(folder / "q.npz").data)


def test_an_option_value_may_begin_with_a_minus(folder, capsys) -> None:
    series = read(folder / "in.npz")
    np.save(folder / "bare.npy", series.projections[:3])
    status, _, err = call(capsys, "reconstruct", "wbp", folder / "bare.npy", folder / "m.mrc")
    assert status == 1
    assert "input-angles" in err or "angles" in err
    words = ["reconstruct", "wbp", folder / "bare.npy", folder / "m.npz", "--input-angles", "-36,-34,.5"]
    assert call(capsys, *words, "--recipe", folder / "m.yaml")[0] == 0
    assert Recipe.load(folder / "m.yaml").given["angles"] == [-36, -34, 0.5]
    assert call(capsys, "run", folder / "m.yaml")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["reconstruct", "sort", "IN", "OUT"],
        ["reconstruct", "sirt", "IN", "OUT", "--iterations", "0"],
        ["reconstruct", "sirt", "IN", "OUT", "--iterations", "many"],
        ["reconstruct", "sirt", "IN", "OUT", "--iter", "5"],
        ["reconstruct", "sirt", "IN", "OUT", "--resume"],
        ["reconstruct", "sirt", "IN"],
        ["rebuild"],
        [],
    ],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_wrong_usage_ends_with_2(folder, capsys, words) -> None:
    places = {"IN": folder / "in.npz", "OUT": folder / "never.mrc"}
    status, _, err = call(capsys, *(places.get(w, w) for w in words))
    assert status == 2
    assert "error" in err
    assert not (folder / "never.mrc").exists()


@pytest.mark.parametrize("fault", ["missing", "text", "truncated", "no folder", "wrong kind", "unknown format"])
def test_a_fault_of_data_ends_with_1_one_line_and_no_output(folder, capsys, fault) -> None:
    source, target = folder / "in.npz", folder / "never.mrc"
    if fault == "missing":
        source = folder / "nowhere.mrc"
    elif fault == "text":
        source = folder / "text.mrc"
        source.write_text("this is no image\n" * 100)
    elif fault == "truncated":
        source = folder / "cut.npz"
        source.write_bytes((folder / "in.npz").read_bytes()[:3000])
    elif fault == "no folder":
        target = folder / "not" / "there.mrc"
    elif fault == "wrong kind":
        source = folder / "truth.mrc"
    else:
        target = folder / "never.docx"
    status, _, err = call(capsys, "reconstruct", "sirt", source, target, "--iterations", 2)
    assert status == 1
    assert err.splitlines()[-1].startswith("splatom: error: ")
    assert "Traceback" not in err
    assert not target.exists()
    assert not list(folder.glob("*.part*"))


def test_info_and_convert(folder, capsys) -> None:
    status, out, _ = call(capsys, "info", folder / "in.npz", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["kind"] == "series"
    assert found["shape"] == [21, 32, 32]
    assert call(capsys, "info", folder / "in.npz")[0] == 0
    assert call(capsys, "convert", folder / "in.npz", folder / "c.mrc")[0] == 0
    back = read(folder / "c.mrc")
    np.testing.assert_allclose(back.projections, read(folder / "in.npz").projections, rtol=1e-6)
    np.testing.assert_allclose(back.angles, np.arange(-60, 61, 6), atol=1e-3)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_writes_the_partial_result_and_ends_with_130(folder) -> None:
    words = ["reconstruct", "sirt", "in.npz", "i.mrc", "--iterations", "10000", "--checkpoint", "k"]
    process = subprocess.Popen(
        [sys.executable, "-m", "splatom", *words, "--checkpoint-every", "0", "--report", "i.json"],
        cwd=folder, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    end = time.monotonic() + 60
    while time.monotonic() < end and not list(folder.glob("k/step-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err.decode()
    assert read(folder / "i.mrc").data.max() > 0
    assert json.loads((folder / "i.json").read_text())["status"] == "stopped"


def test_every_method_goes_through_form_words_and_back() -> None:
    """Each parameter's default, written as an option's text, is read back as itself."""
    from splatom.methods import find
    from splatom.options import from_text, to_text

    for method in find().values():
        default = method.params()
        fields = {
            k: from_text(info.annotation, to_text(getattr(default, k))) if not isinstance(getattr(default, k), bool)
            else getattr(default, k)
            for k, info in method.params.model_fields.items() if k != "method"
        }  # fmt: skip
        assert method.params(**fields) == default, method.name
