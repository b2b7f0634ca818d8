"""How a clean image becomes noise, and what the network learns to predict."""

from medgen.processes.conversion import from_monai, process_from_dict
from medgen.processes.edm import EDM
from medgen.processes.loss import GenerativeLoss
from medgen.processes.process import Estimate, Process
from medgen.processes.rectified_flow import RectifiedFlow
from medgen.processes.variance_preserving import VariancePreserving

__all__ = [
    "EDM",
    "Estimate",
    "GenerativeLoss",
    "Process",
    "RectifiedFlow",
    "VariancePreserving",
    "from_monai",
    "process_from_dict",
]
