"""JSON schema of ``metrics.json``."""

from __future__ import annotations

from typing import Any

from medgen.apps.evaluation.provenance import SCHEMA

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
_KNOWN_RATIO = {"known_ratio": {"anyOf": [_FIGURE, {"type": "null"}]}}
_GENERATED_VENTRICLES = _object({**_EFFECT, "effect_ratio": _FIGURE, "spread_ratio": _FIGURE, **_KNOWN_RATIO})

# of a number, such as age, in place of a label: agreement of what a model predicts with what was asked or is true
_AGREEMENT = dict.fromkeys(("correlation", "slope", "bias", "error"), _FIGURE)
_RATIOS = dict.fromkeys(("correlation_ratio", "slope_ratio"), _FIGURE)
_BAND = {"low": {"type": "number"}, "high": _NUMBER | {"description": "null for ages from 90 on"}}
_BIAS_BY_BAND = {"type": "array", "items": _object({**_BAND, "bias": _FIGURE})}
_TREND = {
    "slope": _FIGURE,
    "spread": _FIGURE,
    "bands": {"type": "array", "items": _object({**_BAND, "mean": _FIGURE, "spread": _FIGURE})},
    **{name: _EFFECT[name] for name in ("adjusted_for", "images", "subjects")},
}
_COHORT_TREND = _object({"unit": _TEXT, **_TREND, "known": {"anyOf": [_KNOWN, {"type": "null"}]}})
_GENERATED_TREND = _object({**_TREND, "slope_ratio": _FIGURE, "spread_ratio": _FIGURE, **_KNOWN_RATIO})
_NUMBER_FIDELITY = _object(
    {
        **_AGREEMENT,
        **_RATIOS,
        "slope_adjusted": _FIGURE,
        "slope_adjusted_ratio": _FIGURE,
        "bands": _BIAS_BY_BAND,
        "by_plane": {"type": "object", "additionalProperties": _object({**_AGREEMENT, **_RATIOS})},
        "extrapolated": _COUNT,
    }
)
# traits that the generator was not told of, along the number
_TRAIT_TREND = {
    "slope": _FIGURE,
    "spread": _FIGURE,
    "bands": {"type": "array", "items": _object({**_BAND, "mean": _FIGURE})},
}
_TRAIT_AGREEMENT = _object(dict.fromkeys(("correlation", "slope", "error", "correlation_at_equal_number"), _FIGURE))
_REAL_TRAIT = _object(
    {
        "agreement": _TRAIT_AGREEMENT,
        "per": {"type": "number", "description": "slopes are for so many units of the number"},
        "true": _object(_TRAIT_TREND),
        "predicted": _object(_TRAIT_TREND),
        **{name: _EFFECT[name] for name in ("adjusted_for", "images", "subjects")},
    }
)
_GENERATED_TRAIT = _object({**_TRAIT_TREND, "slope_ratio": _FIGURE, "spread_ratio": _FIGURE})
_REAL_TRAITS = {"traits": {"type": "object", "additionalProperties": _REAL_TRAIT}}
_LABEL_FIDELITY = _object(dict.fromkeys(("auc", "auc_adjusted", "ratio", "ratio_adjusted"), _FIGURE))
_MATCHED = _object(
    {
        "labels": {"type": "array", "items": _TEXT},
        "numbers": {"type": "array", "items": _TEXT},
        "same_labels": {"type": "number", "description": "fraction of images all of whose labels agree"},
        "apart": {"type": "object", "additionalProperties": _NUMBER},
    },
    description="how near the floor's training images are to what was asked, in labels and numbers (mean difference)",
)
_LIKENESS = _object(
    {
        "n": _COUNT,
        "n_real": _COUNT,
        "frechet": _FIGURE,
        "floor_frechet": _FIGURE,
        "frechet_over_floor": _FIGURE | {"description": "null where the floor cannot be told from 0"},
        "kernel": _FIGURE,
        "floor_kernel": _FIGURE,
        "floor_matched": _MATCHED,
    }
)
_MEASURES = ("precision", "density", "recall", "coverage", "ms_ssim")
_FIDELITY = _object(
    {
        "n": _COUNT,
        "n_real": _COUNT,
        "k": _COUNT,
        **dict.fromkeys((f"{prefix}{name}" for name in _MEASURES for prefix in ("", "real_")), _FIGURE),
        "variety_ratio": _FIGURE,
    }
)
# of networks that know classes
_FIDELITY["properties"] |= {"inception_score": _FIGURE, "real_inception_score": _FIGURE}
_TISSUE = _object(dict.fromkeys(("real", "generated", "difference", "percent", "spread_ratio"), _FIGURE))
_TISSUES = _object(
    {
        "unit": _TEXT,
        "found": {"type": "number"},
        "adjusted_for": {"type": "array", "items": _TEXT},
        "measures": _object(dict.fromkeys(("brain", "fluid", "grey", "white"), _TISSUE)),
    }
)
_INTENSITY = _object({key: {"type": "number"} for key in ("low", "high", "real_low", "real_high")})
_REAL_LABEL = _object(
    {
        "auc": _FIGURE,
        "auc_subject": _FIGURE,
        "auc_adjusted": _FIGURE,
        "ages_differ": {"type": "boolean", "description": "between the labels: adjusted figures are the ones to read"},
        "ventricles": {"anyOf": [_COHORT_VENTRICLES, {"type": "null"}]},
        **_REAL_TRAITS,
    }
)
_REAL_NUMBER = _object(
    {
        "agreement": _object(
            {
                **_AGREEMENT,
                "slope_adjusted": _FIGURE | {"description": "at equal other covariates"},
                "adjusted_for": _EFFECT["adjusted_for"],
                "bands": _BIAS_BY_BAND,
            }
        ),
        "by_plane": {"type": "object", "additionalProperties": _object(_AGREEMENT)},
        "ventricles": {"anyOf": [_COHORT_TREND, {"type": "null"}]},
        **_REAL_TRAITS,
    }
)
_JUDGE = _object({"features": _COUNT, "epochs": _COUNT})
_DETECTORS = ("pixels", "features", "lead")
_BY_DETECTOR = _object(dict.fromkeys(_DETECTORS, _NUMBER))
_NEAR = _object({"rate": _FIGURE, "excess": _FIGURE})
_ORIGINALITY = _object(
    {
        "images": _COUNT,
        "near_copies": _COUNT | {"description": "found by any detector"},
        "beyond_doubt": _COUNT | {"description": "z above twice that of a copy, by pixels or features"},
        "by_chance": _NUMBER | {"description": "how likely as many profiles of new people are; null: not known"},
        "by_detector": _object(dict.fromkeys(_DETECTORS, _COUNT)),
        "fraction": _FIGURE,
        "training_subjects": _COUNT,
        "copied_subjects": _COUNT,
        "copied_fraction": _FIGURE,
        "near": _object(dict.fromkeys(_DETECTORS, _NEAR), description="than 95 % of held-out images are"),
        "generated": _NUMBER,
        "held_out": _NUMBER,
    }
)
_PLANTED = _object(
    {
        "kind": _TEXT,
        "planted": _COUNT,
        "recall": _FIGURE,
        "by_detector": _BY_DETECTOR,
        "false_alarms": {"anyOf": [_FIGURE, {"type": "null"}]},
        "right_subject": _NUMBER,
    }
)
_SIDES = _object({"train": _COUNT, "held_out": _COUNT})
_MEMBERSHIP = _object(
    {
        "images": _SIDES,
        "subjects": _SIDES,
        "same_sites": {
            "type": "boolean",
            "description": "else held-out people's scanners are others, and it is no test",
        },
        "auc": _FIGURE,
        "auc_subject": _FIGURE,
        "loss_ratio": _FIGURE,
    }
)
_NUMBERS = {"type": "array", "items": _NUMBER}
_REDRAWN = _object({"recall": _FIGURE, "noise": _NUMBERS, "times": _NUMBERS})
_MEMORISATION = _object(
    {
        "recall": _FIGURE,
        "kinds": {"type": "array", "items": _PLANTED, "minItems": 1},
        "thresholds": _BY_DETECTOR,
        "false_alarms": _object(
            {"alarms": _COUNT, "images": _COUNT, "accused": _COUNT, "people": _COUNT},
            description="held-out images, and people with any, that a scale set by other held-out people calls copies",
        ),
        "redrawn": {"anyOf": [_REDRAWN, {"type": "null"}], "description": "copies that the model drew again"},
        "membership": {"anyOf": [_MEMBERSHIP, {"type": "null"}]},
    }
)
_ROW = {
    "type": "object",
    "description": "one guidance scale",
    "properties": {
        "guidance": {"type": "number"},
        "main": {"type": "boolean"},
        "per_class": _COUNT,
        "label": {"anyOf": [_LABEL_FIDELITY, _NUMBER_FIDELITY]},
        "likeness": _LIKENESS,
        "likeness_sweep": _LIKENESS,
        "likeness_by_plane": {"type": "object", "additionalProperties": _LIKENESS},
        "fidelity": _FIDELITY,
        "fidelity_sweep": _FIDELITY,
        "tissues": {"anyOf": [_TISSUES, {"type": "null"}]},
        "intensity": _INTENSITY,
        "ventricles": {"anyOf": [_GENERATED_VENTRICLES, _GENERATED_TREND]},
        "traits": {"type": "object", "additionalProperties": _GENERATED_TRAIT},
        "originality": {"anyOf": [_ORIGINALITY, {"type": "null"}]},
        "evaluations_per_image": _COUNT,
        "seconds_per_image": {"type": "number"},
    },
    "required": ["guidance", "main", "per_class", "label", "likeness", "likeness_sweep", "fidelity", "fidelity_sweep",
                 "intensity", "originality", "traits", "evaluations_per_image", "seconds_per_image"],
    "additionalProperties": False,
}  # fmt: skip

_SOLVER = _object(
    {
        "solver": _TEXT,
        "steps": _COUNT,
        "evaluations": _COUNT,
        "images": _COUNT,
        "seeds": _COUNT,
        "frechet": _FIGURE | {"description": "mean over the seeds; low and high are their extremes"},
        "frechet_by_plane": {"type": "object", "additionalProperties": _NUMBER},
        "over_most": _FIGURE | {"description": "over the same solver with most evaluations, seed by seed"},
        "seconds_per_image": {"type": "number"},
    }
)

_SOFTWARE = {"type": "object", "additionalProperties": _TEXT}
_COST = _object(
    {
        "parameters": _COUNT,
        "codec_parameters": _COUNT,
        "evaluations_per_image": _COUNT,
        "seconds_per_image": {"type": "number"},
        "peak_memory_bytes": {"type": ["integer", "null"]},
        "memory_of": {"enum": ["device", "process", None], "description": "what the peak is of"},
        "device": {"type": ["string", "null"]},
    },
    description="of the images at the main guidance; null where it was not recorded",
)
_TRAINING = _object(
    {
        "seconds": {"type": "number"},
        "images": _COUNT | {"description": "seen in all, of all processes"},
        "processes": _COUNT,
        "device": _TEXT,
    }
)

METRICS_SCHEMA: dict[str, Any] = _object(
    {
        "schema": {"const": SCHEMA},
        "name": _TEXT,
        "created": _TEXT,
        "simulated": {"type": "boolean"},
        "notices": {"type": "array", "items": _TEXT},
        "model": _object(
            {
                "sha256": _TEXT,
                "parameters": _COUNT,
                "iteration": {"type": ["integer", "null"]},
                "config": {"type": ["object", "null"]},
                "training": {"anyOf": [_TRAINING, {"type": "null"}]},
                "software": {"anyOf": [_SOFTWARE, {"type": "null"}]},
            }
        ),
        "data": _object(
            {
                "fingerprint": _TEXT,
                "terms": _TEXT,
                "split": _TEXT | {"description": "hash of who is in which split; of real people keyed by a secret"},
                "split_unit": {"enum": ["subject", "scan"]},
                "splits": _object(dict.fromkeys(("train", "validation", "test"), _COUNTS)),
                "image_size": {"type": "array", "items": _COUNT},
                "pixel_mm": _NUMBER,
            }
        ),
        "settings": _object(
            {
                "label": _TEXT,
                "labels": {
                    "anyOf": [{"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2}, {"type": "null"}],
                    "description": "null where the covariate is a number",
                },
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
        "extractor": _object(
            {"name": _TEXT, "sha256": {"type": ["string", "null"]}, "distance": _TEXT, "width": _COUNT}
        ),
        "software": _SOFTWARE,
        "real": {"anyOf": [_REAL_LABEL, _REAL_NUMBER]},
        "memorisation": {"anyOf": [_MEMORISATION, {"type": "null"}], "description": "null where nobody looked"},
        "generated": {"type": "array", "items": _ROW, "minItems": 1},
        "cost": _COST,
        "solvers": {"type": "array", "items": _SOLVER},
    },
    title="Figures of an evaluation",
)
# a label has a classifier; a number has a regressor and a unit
METRICS_SCHEMA["properties"] |= {"classifier": _JUDGE, "regressor": _JUDGE}
METRICS_SCHEMA["properties"]["settings"]["properties"]["unit"] = _TEXT
METRICS_SCHEMA["oneOf"] = [{"required": ["classifier"]}, {"required": ["regressor"]}]
