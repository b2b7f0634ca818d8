"""Evidence: how close generated images are to real ones, and whether they carry what they were asked to carry."""

from medgen.metrics.agreement import agreement, band_starts, number_trend
from medgen.metrics.aligned import shifted_correlation
from medgen.metrics.aligned_neighbours import AlignedSearch
from medgen.metrics.alterations import ALTERATIONS, altered
from medgen.metrics.checks import IntensityRange, OneColourError, ScaleError, check_same_scale
from medgen.metrics.copies import (
    NearnessScale,
    alarms_among_others,
    chance_of_as_many,
    excess_of_near,
    lead,
    proportion,
)
from medgen.metrics.effects import AdjustedEffect, GroupModel, adjusted_effect
from medgen.metrics.extractors import FeatureExtractor, distance_name, feature_extractor
from medgen.metrics.features import FeatureClassifier
from medgen.metrics.frechet import frechet_distance
from medgen.metrics.inception_score import InceptionScore, inception_score
from medgen.metrics.kernel import KernelDistance, kernel_distance
from medgen.metrics.manifold import Manifold, manifold_figures
from medgen.metrics.ms_ssim import ms_ssim, sample_ms_ssim
from medgen.metrics.neighbours import Neighbours, nearest_neighbours
from medgen.metrics.places import Places
from medgen.metrics.regressor import FeatureRegressor
from medgen.metrics.resampling import Interval, SubjectResampler, bootstrap
from medgen.metrics.roc import roc_auc, subject_means
from medgen.metrics.streaming import (
    FrechetDistanceMetric,
    InceptionScoreMetric,
    KernelDistanceMetric,
    ManifoldMetric,
    SampleMSSSIMMetric,
)
from medgen.metrics.ventricles import ventricle_area, ventricle_volume

__all__ = [
    "ALTERATIONS",
    "AdjustedEffect",
    "AlignedSearch",
    "FeatureClassifier",
    "FeatureExtractor",
    "FeatureRegressor",
    "FrechetDistanceMetric",
    "GroupModel",
    "InceptionScore",
    "InceptionScoreMetric",
    "IntensityRange",
    "Interval",
    "KernelDistance",
    "KernelDistanceMetric",
    "Manifold",
    "ManifoldMetric",
    "NearnessScale",
    "Neighbours",
    "Places",
    "SampleMSSSIMMetric",
    "OneColourError",
    "ScaleError",
    "SubjectResampler",
    "adjusted_effect",
    "agreement",
    "alarms_among_others",
    "altered",
    "chance_of_as_many",
    "band_starts",
    "bootstrap",
    "check_same_scale",
    "distance_name",
    "excess_of_near",
    "feature_extractor",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "lead",
    "manifold_figures",
    "ms_ssim",
    "nearest_neighbours",
    "number_trend",
    "proportion",
    "roc_auc",
    "sample_ms_ssim",
    "shifted_correlation",
    "subject_means",
    "ventricle_area",
    "ventricle_volume",
]
