"""Ignite handlers: weight average, checkpoints, progress, logs and pictures of a run."""

from medgen.handlers.checkpoint import CheckpointHandler
from medgen.handlers.csv_logger import CsvLogger
from medgen.handlers.ema import EMA
from medgen.handlers.manifest import read_manifest, write_model
from medgen.handlers.mean_loss import MeanLoss
from medgen.handlers.noise_level import LossByNoiseLevel
from medgen.handlers.plots import LossCurve
from medgen.handlers.progress import ProgressBar
from medgen.handlers.reconstruction_grid import ReconstructionGrid
from medgen.handlers.reconstruction_metrics import PSNR, SSIM
from medgen.handlers.sample_grid import SampleGrid
from medgen.handlers.save_samples import SaveSamples
from medgen.handlers.strips import DenoisingStrip, NoisingStrip
from medgen.handlers.sweep import SaveSweep
from medgen.handlers.tensorboard import TensorBoardLogger

__all__ = [
    "EMA",
    "PSNR",
    "SSIM",
    "CheckpointHandler",
    "CsvLogger",
    "DenoisingStrip",
    "LossByNoiseLevel",
    "LossCurve",
    "MeanLoss",
    "NoisingStrip",
    "ProgressBar",
    "ReconstructionGrid",
    "SampleGrid",
    "SaveSamples",
    "SaveSweep",
    "TensorBoardLogger",
    "read_manifest",
    "write_model",
]
