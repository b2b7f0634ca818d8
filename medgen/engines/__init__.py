"""The Ignite engines that every bundle shares."""

from medgen.engines.autoencoder import AutoencoderTrainer
from medgen.engines.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint
from medgen.engines.condition_dropout import ConditionDropout, Conditions
from medgen.engines.distributed import finalize_distributed, is_first_rank, setup_distributed, unwrap
from medgen.engines.evaluator import GenerativeEvaluator
from medgen.engines.events import OptimizerEvents
from medgen.engines.prepare_batch import PrepareConditions
from medgen.engines.reconstruction import ReconstructionEvaluator
from medgen.engines.run_directory import private_folder, run_directory
from medgen.engines.step import NonFiniteError, TrainingStep
from medgen.engines.trainer import GenerativeTrainer
from medgen.handlers.mean_loss import lower_is_better

__all__ = [
    "AutoencoderTrainer",
    "ConditionDropout",
    "Conditions",
    "GenerativeEvaluator",
    "GenerativeTrainer",
    "NonFiniteError",
    "OptimizerEvents",
    "PrepareConditions",
    "ReconstructionEvaluator",
    "TrainingStep",
    "finalize_distributed",
    "is_first_rank",
    "latest_checkpoint",
    "lower_is_better",
    "private_folder",
    "read_checkpoint",
    "run_directory",
    "setup_distributed",
    "unwrap",
    "write_checkpoint",
]
