"""Along which direction of the image its line noise runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from splatom.data import TiltSeries
    from splatom.jobs import Job

__all__ = ["Direction", "lines_of", "turned_degrees"]

Direction = Literal["rows", "columns"]
_OTHER: dict[Direction, Direction] = {"rows": "columns", "columns": "rows"}


def turned_degrees(series: TiltSeries) -> float:
    """Return by how much the images were turned in their plane since they were read, in degrees in [−180, 180).

    The geometry cannot tell: it says where the tilt axis lies, not how the detector was read. The steps do.
    """
    turns = [
        float(step.notes.get("turned_degrees", 0.0))
        for step in series.provenance.steps
        if (step.group, step.method) == ("prepare", "rotate")
    ]
    return (sum(turns) + 180.0) % 360.0 - 180.0


def lines_of(series: TiltSeries, native: Direction, wish: str, job: Job[Any]) -> Direction:
    """Return the direction along which a line runs in the images as they are, and note why.

    Parameters
    ----------
    series : TiltSeries
    native : {'rows', 'columns'}
        Direction in an image as the microscope writes it: rows for a scan, columns for the read-out of a camera.
    wish : {'auto', 'rows', 'columns'}
        What the user says.
    job : Job
    """
    turned = turned_degrees(series)
    if wish in ("rows", "columns"):
        found, why = wish, "as asked"
    elif native == "rows" and series.scan != "unknown":
        found, why = series.scan, "the fast scan"
    else:
        odd = round(turned / 90) % 2
        found, why = (_OTHER[native] if odd else native), f"{native} as recorded"
        why += f", turned by {turned:g}° since" if turned else ""
    rest = abs(turned - 90 * round(turned / 90))
    if rest > 3 and wish == "auto":
        why += f"; they run {rest:.1f}° askew, so less of their noise is recognised (denoise before rotating)"
    job.note(lines=f"{found}: {why}")
    return "rows" if found == "rows" else "columns"
