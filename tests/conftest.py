"""What every test may use, and what every test of a window has to leave behind: nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Before torch or Qt is loaded: OpenMP threads that spin make two busy processes crawl.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("QT_API", "pyside6")

_WINDOW_FIXTURES = {"make_napari_viewer", "make_napari_viewer_proxy", "qtbot", "qapp"}


def _why_no_window() -> str:
    """Say why no window can be opened here, nothing if it can."""
    if find_spec("napari") is None:
        return "napari is not installed"
    if not any(find_spec(name) for name in ("PySide6", "PyQt6")):
        return "no Qt binding (PySide6 or PyQt6) is installed"
    if os.name == "posix" and os.uname().sysname == "Linux" and not os.environ.get("DISPLAY"):
        return "there is no display; run the tests with make, or under xvfb-run"
    return ""


def pytest_report_header() -> list[str]:
    """Say at the top what is left out, and why."""
    reason = _why_no_window()
    return [f"tests of the window are left out: {reason}"] if reason else []


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave the plugin's tests alone where they could not even be imported."""
    folder = Path(__file__).parent / "plugin"
    missing = _why_no_window().endswith("installed")
    return True if missing and collection_path == folder else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the window, and skip them where none can be opened."""
    reason = _why_no_window()
    for item in items:
        if _WINDOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.gui)
        if reason and item.get_closest_marker("gui"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data beside the checkout, which the project may not ship."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not here ({folder} is missing)")
    return folder


@pytest.fixture(autouse=True)
def _no_leaked_widget(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test of the window that leaves a top-level widget behind."""
    if not request.node.get_closest_marker("gui") or _why_no_window():
        yield
        return
    import gc

    from qtpy.QtCore import QCoreApplication, QEvent
    from qtpy.QtWidgets import QApplication

    app = QApplication.instance()
    # Widgets are kept, not their ids: an id may come again once its widget is gone.
    before = list(QApplication.topLevelWidgets()) if app else []
    yield
    if QApplication.instance() is None:
        return
    # A widget that only waits to be deleted, or for the collector, is not leaked.
    for _ in range(3):
        QApplication.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        gc.collect()
    # Vispy keeps its canvas's window for reuse, and menus belong to Qt's platform theme.
    leaked = [
        w
        for w in QApplication.topLevelWidgets()
        if w not in before
        and type(w).__name__ not in {"CanvasBackendDesktop", "QMenu"}
        and w.objectName() != "handled_widget"
    ]
    if leaked:
        names = ", ".join(f"{type(w).__name__}({w.objectName() or w.windowTitle()!r})" for w in leaked)
        for widget in leaked:
            widget.close()
            widget.deleteLater()
        pytest.fail(f"the test left top-level widgets behind: {names}", pytrace=False)
