"""The rules of the house: who may know whom, and what is loaded when."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numba", "scipy", "napari", "qtpy", "magicgui", "superqt", "PySide6", "PyQt6", "ase", "skimage")


def python(code: str, *args: object) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(code: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after some code."""
    out = python(f"import sys\n{code}\nprint(*(m for m in {HEAVY} if m in sys.modules))")
    return set(out.split())


@pytest.mark.parametrize(
    "code", ["import splatom", "import splatom.data, splatom.geometry", "import splatom.jobs", "import splatom.io"]
)
def test_importing_the_core_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code) == set()


def test_finding_every_method_loads_nothing_heavy() -> None:
    assert loaded_by("from splatom.methods import find\nassert find()") == set()


def test_every_public_name_is_there() -> None:
    python("import splatom\nfor name in splatom.__all__: assert getattr(splatom, name) is not None, name")


# ---------------------------------------------------------------- the manifest
def test_the_manifest_at_the_top_is_the_one_in_the_package() -> None:
    assert (ROOT / "napari.yaml").read_bytes() == (ROOT / "src/splatom/napari.yaml").read_bytes()


@pytest.mark.skipif(find_spec("npe2") is None, reason="npe2 is not installed")
def test_discovering_the_plugin_loads_no_torch() -> None:
    assert "torch" not in loaded_by(
        "from npe2 import PluginManifest\nmanifest = PluginManifest.from_distribution('splatom')\nassert manifest"
    )


@pytest.mark.gui
def test_everything_the_manifest_names_is_there_and_loads_no_torch() -> None:
    code = """
import importlib, yaml
from importlib.resources import files

manifest = yaml.safe_load((files("splatom") / "napari.yaml").read_text())
names = [command["python_name"] for command in manifest["contributions"]["commands"]]
assert names
for name in names:
    module, _, attribute = name.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute)), name
"""
    assert "torch" not in loaded_by(code)


# ---------------------------------------------------------------- imports
@pytest.mark.skipif(find_spec("importlinter") is None, reason="import-linter is not installed")
def test_the_rooms_know_only_whom_they_may_know() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_core_works_without_qt_and_napari(tmp_path: Path) -> None:
    """Read, align, reconstruct, write: with every import of napari and Qt refused."""
    z, y, x = np.mgrid[-12:12, -12:12, -12:12]
    ball = ((z**2 + y**2 + x**2) < 64).astype(np.float32)
    source, target = tmp_path / "ball.npz", tmp_path / "ball.mrc"
    np.savez(source, projections=np.stack([ball.sum(0)] * 9), angles=np.linspace(-60, 60, 9), pixel_size=1.0)
    python(
        """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"napari", "qtpy", "magicgui", "superqt", "PySide6", "PyQt6", "PyQt5"}:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Refuse())
        import splatom, splatom.cli, splatom.recipe

        series = splatom.read(sys.argv[1])
        volume = splatom.run("reconstruct", "sirt", series, iterations=5)
        splatom.write(sys.argv[2], volume)
        again = splatom.read(sys.argv[2])
        assert again.data.shape == (24, 24, 24), again.data.shape
        assert not {"napari", "qtpy"} & set(sys.modules)
        """,
        source,
        target,
    )
    assert target.stat().st_size > 24**3 * 4


# ---------------------------------------------------------------- the tests' own guard
GUARDED = """
    from qtpy.QtWidgets import QWidget
    import threading

    KEPT = []

    def test_leaks(make_napari_viewer_proxy):
        make_napari_viewer_proxy()
        widget = QWidget()
        widget.show()
        KEPT.append(widget)

    def test_changes_a_layer_from_another_thread(make_napari_viewer_proxy):
        viewer = make_napari_viewer_proxy()
        layer = viewer.add_points()
        thread = threading.Thread(target=lambda: setattr(layer, "name", "other"))
        thread.start()
        thread.join()

    def test_is_tidy(make_napari_viewer_proxy):
        make_napari_viewer_proxy().add_points()
"""


@pytest.mark.gui
@pytest.mark.slow
def test_a_leaked_widget_and_a_change_from_another_thread_fail_a_test(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "test_guarded.py").write_text(textwrap.dedent(GUARDED))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xvfb", "-p", "no:cacheprovider", "test_guarded.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert any("test_leaks" in line and "top-level widgets" in line for line in lines), done.stdout
    assert any("test_changes_a_layer_from_another_thread" in line for line in lines), done.stdout
    assert not any("test_is_tidy" in line for line in lines), done.stdout
