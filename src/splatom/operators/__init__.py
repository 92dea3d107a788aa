"""Operators: linear maps from a specimen to its projections, each with its exact adjoint. They know no job."""

from splatom.operators.device import choose_device
from splatom.operators.voxel import VoxelProjector, project

__all__ = ["VoxelProjector", "choose_device", "project"]
