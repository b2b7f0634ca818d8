"""Schema of what ``metrics.json`` says of copies and of membership."""

from __future__ import annotations

from medgen.apps.report.schema_types import COUNT, FIGURE, NUMBER, TEXT, closed

__all__ = ["MEMORISATION", "ORIGINALITY"]

_DETECTORS = ("pixels", "features", "lead")
_BY_DETECTOR = closed(dict.fromkeys(_DETECTORS, NUMBER))
_NEAR = closed({"rate": FIGURE, "excess": FIGURE})
ORIGINALITY = closed(
    {
        "images": COUNT,
        "near_copies": COUNT | {"description": "found by any detector"},
        "beyond_doubt": COUNT | {"description": "z above twice that of a copy, by pixels or features"},
        "by_chance": NUMBER | {"description": "how likely as many profiles of new people are; null: not known"},
        "by_detector": closed(dict.fromkeys(_DETECTORS, COUNT)),
        "fraction": FIGURE,
        "training_subjects": COUNT,
        "copied_subjects": COUNT,
        "copied_fraction": FIGURE,
        "near": closed(dict.fromkeys(_DETECTORS, _NEAR), description="than 95 % of held-out images are"),
        "generated": NUMBER,
        "held_out": NUMBER,
    }
)
_PLANTED = closed(
    {
        "kind": TEXT,
        "planted": COUNT,
        "recall": FIGURE,
        "by_detector": _BY_DETECTOR,
        "false_alarms": {"anyOf": [FIGURE, {"type": "null"}]},
        "right_subject": NUMBER,
    }
)
_SIDES = closed({"train": COUNT, "held_out": COUNT})
_MEMBERSHIP = closed(
    {
        "images": _SIDES,
        "subjects": _SIDES,
        "same_sites": {
            "type": "boolean",
            "description": "else held-out people's scanners are others, and it is no test",
        },
        "auc": FIGURE,
        "auc_subject": FIGURE,
        "loss_ratio": FIGURE,
    }
)
_NUMBERS = {"type": "array", "items": NUMBER}
_REDRAWN = closed({"recall": FIGURE, "noise": _NUMBERS, "times": _NUMBERS})
MEMORISATION = closed(
    {
        "recall": FIGURE,
        "kinds": {"type": "array", "items": _PLANTED, "minItems": 1},
        "thresholds": _BY_DETECTOR,
        "false_alarms": closed(
            {"alarms": COUNT, "images": COUNT, "accused": COUNT, "people": COUNT},
            description="held-out images, and people with any, that a scale set by other held-out people calls copies",
        ),
        "redrawn": {"anyOf": [_REDRAWN, {"type": "null"}], "description": "copies that the model drew again"},
        "membership": {"anyOf": [_MEMBERSHIP, {"type": "null"}]},
    }
)
