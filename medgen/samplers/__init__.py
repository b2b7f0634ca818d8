"""How noise becomes an image: time grids, solvers, guidance."""

from medgen.samplers.adaptive import dopri5
from medgen.samplers.grids import time_grid
from medgen.samplers.guidance import GuidedDenoiser
from medgen.samplers.likelihood import bits_per_dimension, log_likelihood, model_bits
from medgen.samplers.network import sampling_mode
from medgen.samplers.noise import SeededNoise, seeded_noise
from medgen.samplers.sampler import Sampler, Samples, Step
from medgen.samplers.solvers import SOLVERS, ddim, ddpm, dpm_solver_pp_2m, euler, heun, midpoint

__all__ = [
    "SOLVERS",
    "GuidedDenoiser",
    "Sampler",
    "Samples",
    "SeededNoise",
    "Step",
    "bits_per_dimension",
    "ddim",
    "ddpm",
    "dopri5",
    "dpm_solver_pp_2m",
    "euler",
    "heun",
    "log_likelihood",
    "midpoint",
    "model_bits",
    "sampling_mode",
    "seeded_noise",
    "time_grid",
]
