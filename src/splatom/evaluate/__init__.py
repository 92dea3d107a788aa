"""How good a result is: against a truth, against the measured images, against its other half."""

from splatom.evaluate.columns import find_columns, usual_distance, usual_threshold
from splatom.evaluate.compare import evaluate
from splatom.evaluate.images import data_range, fit_gain_offset, psnr, rmse, ssim
from splatom.evaluate.interpolation import HoldOut, Scores, band_errors, hold_out
from splatom.evaluate.matching import AtomMatch, match_atoms
from splatom.evaluate.removed import foreseen
from splatom.evaluate.residuals import ReprojectionReport, r_factor, reprojection_report
from splatom.evaluate.resolution import FscCurve, directional_fsc, fsc, half_sets
from splatom.evaluate.structure import PairDistribution, coordination_numbers, nearest_neighbours, pair_distribution

__all__ = [
    "AtomMatch",
    "FscCurve",
    "HoldOut",
    "PairDistribution",
    "ReprojectionReport",
    "Scores",
    "band_errors",
    "coordination_numbers",
    "data_range",
    "directional_fsc",
    "evaluate",
    "find_columns",
    "fit_gain_offset",
    "foreseen",
    "fsc",
    "half_sets",
    "hold_out",
    "match_atoms",
    "nearest_neighbours",
    "pair_distribution",
    "psnr",
    "r_factor",
    "reprojection_report",
    "rmse",
    "ssim",
    "usual_distance",
    "usual_threshold",
]
