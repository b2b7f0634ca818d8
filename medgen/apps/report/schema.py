"""JSON schema of ``metrics.json``."""

from __future__ import annotations

from typing import Any

__all__ = ["METRICS_SCHEMA"]


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object all of whose properties must be there, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    } | more


_NUMBER = {"type": ["number", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_ANY: dict[str, Any] = {}
_FIGURE = {
    "type": "object",
    "description": "a value and its 95 % interval; null where so few subjects do not determine it",
    "properties": {"value": _NUMBER, "low": _NUMBER, "high": _NUMBER, "error": _NUMBER},
    "required": ["value", "low", "high"],
    "additionalProperties": False,
}
_COUNTS = _object({"subjects": _COUNT, "images": _COUNT})
_EFFECT = {
    "effect": _FIGURE,
    "spread": _FIGURE,
    "unadjusted": _FIGURE,
    "age_slope": {"anyOf": [_FIGURE, {"type": "null"}]},
    "adjusted_for": {"type": "array", "items": _TEXT},
    "images": _COUNT,
    "subjects": _COUNT,
}
_KNOWN = _object({"effect": _FIGURE, "effect_ml": _NUMBER, "mm2_per_ml": _NUMBER, "correlation": _NUMBER})
_COHORT_VENTRICLES = _object({"unit": _TEXT, **_EFFECT, "known": {"anyOf": [_KNOWN, {"type": "null"}]}})
_GENERATED_VENTRICLES = _object(
    {
        **_EFFECT,
        "effect_ratio": _FIGURE,
        "spread_ratio": _FIGURE,
        "known_ratio": {"anyOf": [_FIGURE, {"type": "null"}]},
    }
)
_ROW = {
    "type": "object",
    "description": "one guidance scale",
    "properties": {
        "guidance": {"type": "number"},
        "main": {"type": "boolean"},
        "per_class": _COUNT,
        "label": _object(dict.fromkeys(("auc", "auc_adjusted", "ratio", "ratio_adjusted"), _FIGURE)),
        "likeness": _object(
            {
                "n": _COUNT,
                "n_real": _COUNT,
                "frechet": _FIGURE,
                "floor_frechet": _FIGURE,
                "frechet_over_floor": _NUMBER,
                "kernel": _FIGURE,
                "floor_kernel": _FIGURE,
            }
        ),
        "ventricles": _GENERATED_VENTRICLES,
        "originality": _object(
            {"images": _COUNT, "generated": _NUMBER, "held_out": _NUMBER, "closer": _NUMBER, "near_copies": _COUNT}
        ),
        "evaluations_per_image": _COUNT,
        "seconds_per_image": {"type": "number"},
    },
    "required": ["guidance", "main", "per_class", "label", "likeness", "originality", "evaluations_per_image",
                 "seconds_per_image"],
    "additionalProperties": False,
}  # fmt: skip

METRICS_SCHEMA: dict[str, Any] = _object(
    {
        "schema": {"const": "medgen.evaluation/1"},
        "name": _TEXT,
        "created": _TEXT,
        "simulated": {"type": "boolean"},
        "notices": {"type": "array", "items": _TEXT},
        "model": _object(
            {"sha256": _TEXT, "parameters": _COUNT, "iteration": {"type": ["integer", "null"]}, "config": _ANY}
        ),
        "data": _object(
            {
                "fingerprint": _TEXT,
                "terms": _TEXT,
                "split_unit": {"enum": ["subject", "scan"]},
                "splits": _object(dict.fromkeys(("train", "validation", "test"), _COUNTS)),
                "image_size": {"type": "array", "items": _COUNT},
                "pixel_mm": _NUMBER,
            }
        ),
        "settings": _object(
            {
                "label": _TEXT,
                "labels": {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2},
                "guidance": {"type": "number"},
                "guidances": {"type": "array", "items": {"type": "number"}},
                "n_per_class": _COUNT,
                "n_sweep": _COUNT,
                "replicates": _COUNT,
                "level": {"type": "number"},
                "seed": {"type": "integer"},
                "process": _ANY,
                "sampler": _ANY,
            }
        ),
        "software": {"type": "object", "additionalProperties": _TEXT},
        "classifier": _object({"features": _COUNT, "epochs": _COUNT}),
        "real": _object(
            {
                "auc": _FIGURE,
                "auc_subject": _FIGURE,
                "auc_adjusted": _FIGURE,
                "ventricles": {"anyOf": [_COHORT_VENTRICLES, {"type": "null"}]},
            }
        ),
        "generated": {"type": "array", "items": _ROW, "minItems": 1},
    },
    title="Figures of an evaluation",
)
