"""Open the cohort that a command names: a folder, a table, or the simulated one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medgen.covariates import Covariates
from medgen.data.cohort import Cohort
from medgen.data.simulated import simulated_cohort
from medgen.data.tables import CohortError

__all__ = ["open_cohort"]

logger = logging.getLogger(__name__)


def open_cohort(
    dataset_dir: str | os.PathLike[str],
    covariates: Covariates | Mapping[str, Any],
    simulated: Mapping[str, Any] | None = None,
    **cohort: Any,
) -> Cohort:
    """Open the cohort at ``dataset_dir``, or make the simulated one and say so.

    Args:
        dataset_dir: folder or table of a cohort, or "simulated".
        covariates: see :class:`Cohort`.
        simulated: arguments of :func:`medgen.data.simulated_cohort`, used when ``dataset_dir`` is "simulated".
        cohort: further arguments of :class:`Cohort`.

    Raises:
        CohortError: as :class:`Cohort`.

    Example:
        >>> cohort = open_cohort("simulated", Covariates(diagnosis=["NC", "AD"]), {"subjects": 8})  # doctest: +SKIP
    """
    if str(dataset_dir) != "simulated":
        if not Path(dataset_dir).expanduser().exists():
            raise CohortError(f'dataset_dir: no such file or folder: {dataset_dir}; expected a cohort or "simulated"')
        result = Cohort(dataset_dir, covariates, **cohort)
    else:
        arguments = dict(simulated or {})
        logger.warning("=" * 78)
        logger.warning('SIMULATED DATA: dataset_dir is "simulated", so an invented cohort is used.')
        logger.warning("These people do not exist; no result on them says anything about patients.")
        logger.warning("On your own data: --dataset_dir /path/to/cohort")
        logger.warning("=" * 78)
        result = Cohort(simulated_cohort(**arguments), covariates, **cohort)
    for notice in result.notices:
        logger.warning("%s", notice)
    return result
