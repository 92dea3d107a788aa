"""Take the noise out of a tilt series or a single image.

BM3D is not among the filters: the package ``bm3d`` may be used for non-commercial purposes only, which does not suit a
project under the BSD licence. The benchmark compares with it where somebody has installed it.
"""
