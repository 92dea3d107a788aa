"""The values that flow between the rooms; nothing else crosses a room's door."""

from splatom.data.atoms import Atoms
from splatom.data.cloud import GaussianCloud
from splatom.data.params import MethodParams, live_fields, option
from splatom.data.provenance import Provenance, Step
from splatom.data.series import Contrast, TiltSeries
from splatom.data.volume import Volume

__all__ = [
    "Atoms",
    "Contrast",
    "GaussianCloud",
    "MethodParams",
    "Provenance",
    "Step",
    "TiltSeries",
    "Volume",
    "live_fields",
    "option",
]
