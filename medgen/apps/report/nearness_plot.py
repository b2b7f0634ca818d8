"""How near images come to the training images: histograms of held-out, generated and planted ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medgen.apps.report.plots import INK, OTHER, REFERENCE, SOFT, new_figure, png

__all__ = ["nearness_plot"]

RANGE = (-4.0, 12.0)
TITLES = {"pixels": "Correlation of pixels, aligned", "features": "Distance in features",
          "lead": "Lead over the next nearest people"}  # fmt: skip


def nearness_plot(z: Mapping[str, Mapping[str, NDArray[np.float64]]], thresholds: Mapping[str, float]) -> bytes:
    """Draw one histogram for each source and detector.

    Args:
        z: by source ("held-out real", "generated", "planted copies", "redrawn copies") and detector.
        thresholds: z above which an image is a copy, by detector.
    """
    figure, axes = new_figure(len(thresholds), (3.6 * len(thresholds), 3.1))
    edges = np.linspace(*RANGE, 33)
    colours = {"held-out real": REFERENCE, "generated": OTHER, "planted copies": SOFT, "redrawn copies": INK}
    for axis, (name, threshold) in zip(axes, thresholds.items(), strict=True):
        for source, values in z.items():
            inside = values[name].clip(RANGE[0], RANGE[1] - 1e-9)
            weights = np.full(len(inside), 100 / len(inside))
            style = {"histtype": "stepfilled", "alpha": 0.4} if "copies" not in source else {"histtype": "step"}
            axis.hist(inside, edges, weights=weights, color=colours[source], linewidth=1.4, label=source, **style)
        axis.axvline(min(threshold, RANGE[1]), color=INK, linewidth=1.2, linestyle="--")
        axis.set_title(TITLES[name])
        axis.set_xlabel("nearness to the nearest training image")
        axis.set_ylabel("% of images")
    axes[0].legend(frameon=False, fontsize=8)
    return png(figure)
