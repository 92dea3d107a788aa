"""Network architectures, and nothing else: plain PyTorch modules that know no data, no job and no weights."""

from splatom.nets.scgn import Scgn
from splatom.nets.sfin import Sfin
from splatom.nets.temdiff import TemDiff
from splatom.nets.tiltrefiner import TiltRefiner
from splatom.nets.tsgnet import Tsgnet

__all__ = ["Scgn", "Sfin", "TemDiff", "TiltRefiner", "Tsgnet"]
