"""Ignite handlers: weight average, checkpoints, progress, logs and pictures of a run."""

from medgen.handlers.checkpoint import CheckpointHandler
from medgen.handlers.ema import EMA
from medgen.handlers.manifest import read_manifest, write_model
from medgen.handlers.mean_loss import MeanLoss
from medgen.handlers.progress import ProgressBar

__all__ = [
    "EMA",
    "CheckpointHandler",
    "MeanLoss",
    "ProgressBar",
    "read_manifest",
    "write_model",
]
