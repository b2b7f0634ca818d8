"""Events that medgen's trainers fire beside those of Ignite and MONAI."""

from __future__ import annotations

from ignite.engine import EventEnum

__all__ = ["EVENT_TO_ATTRIBUTE", "OptimizerEvents"]


class OptimizerEvents(EventEnum):
    """What became of an optimizer step.

    ``OPTIMIZER_STEP_COMPLETED`` is fired when the weights have changed: the weight average, and whatever else counts
    steps, listens to it. ``OPTIMIZER_STEP_SKIPPED`` is fired when loss or gradient was not finite and the weights
    stayed as they were.
    """

    OPTIMIZER_STEP_COMPLETED = "optimizer_step_completed"
    OPTIMIZER_STEP_SKIPPED = "optimizer_step_skipped"


EVENT_TO_ATTRIBUTE = {
    OptimizerEvents.OPTIMIZER_STEP_COMPLETED: "optimizer_steps",
    OptimizerEvents.OPTIMIZER_STEP_SKIPPED: "skipped",
}
