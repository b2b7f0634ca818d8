"""Evidence: how close generated images are to real ones, and whether they carry what they were asked to carry."""

from medgen.metrics.agreement import agreement, band_starts, number_trend
from medgen.metrics.checks import IntensityRange, check_same_scale
from medgen.metrics.effects import AdjustedEffect, GroupModel, adjusted_effect
from medgen.metrics.features import FeatureClassifier
from medgen.metrics.frechet import frechet_distance
from medgen.metrics.kernel import KernelDistance, kernel_distance
from medgen.metrics.neighbours import Neighbours, nearest_neighbours
from medgen.metrics.regressor import FeatureRegressor
from medgen.metrics.resampling import Interval, SubjectResampler, bootstrap
from medgen.metrics.roc import roc_auc, subject_means
from medgen.metrics.ventricles import ventricle_area

__all__ = [
    "AdjustedEffect",
    "FeatureClassifier",
    "FeatureRegressor",
    "GroupModel",
    "IntensityRange",
    "Interval",
    "KernelDistance",
    "Neighbours",
    "SubjectResampler",
    "adjusted_effect",
    "agreement",
    "band_starts",
    "bootstrap",
    "check_same_scale",
    "frechet_distance",
    "kernel_distance",
    "nearest_neighbours",
    "number_trend",
    "roc_auc",
    "subject_means",
    "ventricle_area",
]
