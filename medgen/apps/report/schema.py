"""JSON schema of ``metrics.json``."""

from __future__ import annotations

from typing import Any

from medgen.apps.evaluation.provenance import SCHEMA
from medgen.apps.report.schema_originality import MEMORISATION, ORIGINALITY
from medgen.apps.report.schema_types import ANY, COUNT, FIGURE, NUMBER, TEXT, closed

__all__ = ["METRICS_SCHEMA"]

_COUNTS = closed({"subjects": COUNT, "images": COUNT})
_EFFECT = {
    "effect": FIGURE,
    "spread": FIGURE,
    "unadjusted": FIGURE,
    "age_slope": {"anyOf": [FIGURE, {"type": "null"}]},
    "adjusted_for": {"type": "array", "items": TEXT},
    "images": COUNT,
    "subjects": COUNT,
}
_KNOWN = closed({"effect": FIGURE, "effect_ml": NUMBER, "mm2_per_ml": NUMBER, "correlation": NUMBER})
_COHORT_VENTRICLES = closed({"unit": TEXT, **_EFFECT, "known": {"anyOf": [_KNOWN, {"type": "null"}]}})
_KNOWN_RATIO = {"known_ratio": {"anyOf": [FIGURE, {"type": "null"}]}}
_GENERATED_VENTRICLES = closed({**_EFFECT, "effect_ratio": FIGURE, "spread_ratio": FIGURE, **_KNOWN_RATIO})

# of a number, such as age, in place of a label: agreement of what a model predicts with what was asked or is true
_AGREEMENT = dict.fromkeys(("correlation", "slope", "bias", "error"), FIGURE)
_RATIOS = dict.fromkeys(("correlation_ratio", "slope_ratio"), FIGURE)
_BAND = {"low": {"type": "number"}, "high": NUMBER | {"description": "null for ages from 90 on"}}
_BIAS_BY_BAND = {"type": "array", "items": closed({**_BAND, "bias": FIGURE})}
_TREND = {
    "slope": FIGURE,
    "spread": FIGURE,
    "bands": {"type": "array", "items": closed({**_BAND, "mean": FIGURE, "spread": FIGURE})},
    **{name: _EFFECT[name] for name in ("adjusted_for", "images", "subjects")},
}
_COHORT_TREND = closed({"unit": TEXT, **_TREND, "known": {"anyOf": [_KNOWN, {"type": "null"}]}})
_GENERATED_TREND = closed({**_TREND, "slope_ratio": FIGURE, "spread_ratio": FIGURE, **_KNOWN_RATIO})
_NUMBER_FIDELITY = closed(
    {
        **_AGREEMENT,
        **_RATIOS,
        "slope_adjusted": FIGURE,
        "slope_adjusted_ratio": FIGURE,
        "bands": _BIAS_BY_BAND,
        "by_plane": {"type": "object", "additionalProperties": closed({**_AGREEMENT, **_RATIOS})},
        "extrapolated": COUNT,
    }
)
# traits that the generator was not told of, along the number
_TRAIT_TREND = {
    "slope": FIGURE,
    "spread": FIGURE,
    "bands": {"type": "array", "items": closed({**_BAND, "mean": FIGURE})},
}
_TRAIT_AGREEMENT = closed(dict.fromkeys(("correlation", "slope", "error", "correlation_at_equal_number"), FIGURE))
_REAL_TRAIT = closed(
    {
        "agreement": _TRAIT_AGREEMENT,
        "per": {"type": "number", "description": "slopes are for so many units of the number"},
        "true": closed(_TRAIT_TREND),
        "predicted": closed(_TRAIT_TREND),
        **{name: _EFFECT[name] for name in ("adjusted_for", "images", "subjects")},
    }
)
_GENERATED_TRAIT = closed({**_TRAIT_TREND, "slope_ratio": FIGURE, "spread_ratio": FIGURE})
_REAL_TRAITS = {"traits": {"type": "object", "additionalProperties": _REAL_TRAIT}}
_LABEL_FIDELITY = closed(dict.fromkeys(("auc", "auc_adjusted", "ratio", "ratio_adjusted"), FIGURE))
_MATCHED = closed(
    {
        "labels": {"type": "array", "items": TEXT},
        "numbers": {"type": "array", "items": TEXT},
        "same_labels": {"type": "number", "description": "fraction of images all of whose labels agree"},
        "apart": {"type": "object", "additionalProperties": NUMBER},
    },
    description="how near the floor's training images are to what was asked, in labels and numbers (mean difference)",
)
_LIKENESS = closed(
    {
        "n": COUNT,
        "n_real": COUNT,
        "frechet": FIGURE,
        "floor_frechet": FIGURE,
        "frechet_over_floor": FIGURE | {"description": "null where the floor cannot be told from 0"},
        "kernel": FIGURE,
        "floor_kernel": FIGURE,
        "floor_matched": _MATCHED,
    }
)
_MEASURES = ("precision", "density", "recall", "coverage", "ms_ssim")
_FIDELITY = closed(
    {
        "n": COUNT,
        "n_real": COUNT,
        "k": COUNT,
        **dict.fromkeys((f"{prefix}{name}" for name in _MEASURES for prefix in ("", "real_")), FIGURE),
        "variety_ratio": FIGURE,
    }
)
# of networks that know classes
_FIDELITY["properties"] |= {"inception_score": FIGURE, "real_inception_score": FIGURE}
_TISSUE = closed(dict.fromkeys(("real", "generated", "difference", "percent", "spread_ratio"), FIGURE))
_TISSUES = closed(
    {
        "unit": TEXT,
        "found": {"type": "number"},
        "adjusted_for": {"type": "array", "items": TEXT},
        "measures": closed(dict.fromkeys(("brain", "fluid", "grey", "white"), _TISSUE)),
    }
)
_INTENSITY = closed({key: {"type": "number"} for key in ("low", "high", "real_low", "real_high")})
_REAL_LABEL = closed(
    {
        "auc": FIGURE,
        "auc_subject": FIGURE,
        "auc_adjusted": FIGURE,
        "ages_differ": {"type": "boolean", "description": "between the labels: adjusted figures are the ones to read"},
        "ventricles": {"anyOf": [_COHORT_VENTRICLES, {"type": "null"}]},
        **_REAL_TRAITS,
    }
)
_REAL_NUMBER = closed(
    {
        "agreement": closed(
            {
                **_AGREEMENT,
                "slope_adjusted": FIGURE | {"description": "at equal other covariates"},
                "adjusted_for": _EFFECT["adjusted_for"],
                "bands": _BIAS_BY_BAND,
            }
        ),
        "by_plane": {"type": "object", "additionalProperties": closed(_AGREEMENT)},
        "ventricles": {"anyOf": [_COHORT_TREND, {"type": "null"}]},
        **_REAL_TRAITS,
    }
)
_JUDGE = closed({"features": COUNT, "epochs": COUNT})
_ROW = {
    "type": "object",
    "description": "one guidance scale",
    "properties": {
        "guidance": {"type": "number"},
        "main": {"type": "boolean"},
        "per_class": COUNT,
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
        "originality": {"anyOf": [ORIGINALITY, {"type": "null"}]},
        "evaluations_per_image": COUNT,
        "seconds_per_image": {"type": "number"},
    },
    "required": ["guidance", "main", "per_class", "label", "likeness", "likeness_sweep", "fidelity", "fidelity_sweep",
                 "intensity", "originality", "traits", "evaluations_per_image", "seconds_per_image"],
    "additionalProperties": False,
}  # fmt: skip

_SOLVER = closed(
    {
        "solver": TEXT,
        "steps": COUNT,
        "evaluations": COUNT,
        "images": COUNT,
        "seeds": COUNT,
        "frechet": FIGURE | {"description": "mean over the seeds; low and high are their extremes"},
        "frechet_by_plane": {"type": "object", "additionalProperties": NUMBER},
        "over_most": FIGURE | {"description": "over the same solver with most evaluations, seed by seed"},
        "seconds_per_image": {"type": "number"},
    }
)

_SOFTWARE = {"type": "object", "additionalProperties": TEXT}
_COST = closed(
    {
        "parameters": COUNT,
        "codec_parameters": COUNT,
        "evaluations_per_image": COUNT,
        "seconds_per_image": {"type": "number"},
        "peak_memory_bytes": {"type": ["integer", "null"]},
        "memory_of": {"enum": ["device", "process", None], "description": "what the peak is of"},
        "device": {"type": ["string", "null"]},
    },
    description="of the images at the main guidance; null where it was not recorded",
)
_TRAINING = closed(
    {
        "seconds": {"type": "number"},
        "images": COUNT | {"description": "seen in all, of all processes"},
        "processes": COUNT,
        "device": TEXT,
    }
)

METRICS_SCHEMA: dict[str, Any] = closed(
    {
        "schema": {"const": SCHEMA},
        "name": TEXT,
        "created": TEXT,
        "simulated": {"type": "boolean"},
        "notices": {"type": "array", "items": TEXT},
        "model": closed(
            {
                "sha256": TEXT,
                "parameters": COUNT,
                "iteration": {"type": ["integer", "null"]},
                "config": {"type": ["object", "null"]},
                "training": {"anyOf": [_TRAINING, {"type": "null"}]},
                "software": {"anyOf": [_SOFTWARE, {"type": "null"}]},
            }
        ),
        "data": closed(
            {
                "fingerprint": TEXT,
                "terms": TEXT,
                "split": TEXT | {"description": "hash of who is in which split; of real people keyed by a secret"},
                "split_unit": {"enum": ["subject", "scan"]},
                "splits": closed(dict.fromkeys(("train", "validation", "test"), _COUNTS)),
                "image_size": {"type": "array", "items": COUNT},
                "pixel_mm": NUMBER,
            }
        ),
        "settings": closed(
            {
                "label": TEXT,
                "labels": {
                    "anyOf": [{"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}, {"type": "null"}],
                    "description": "null where the covariate is a number",
                },
                "guidance": {"type": "number"},
                "guidances": {"type": "array", "items": {"type": "number"}},
                "n_per_class": COUNT,
                "n_sweep": COUNT,
                "replicates": COUNT,
                "level": {"type": "number"},
                "seed": {"type": "integer"},
                "process": ANY,
                "sampler": ANY,
            }
        ),
        "extractor": closed({"name": TEXT, "sha256": {"type": ["string", "null"]}, "distance": TEXT, "width": COUNT}),
        "software": _SOFTWARE,
        "real": {"anyOf": [_REAL_LABEL, _REAL_NUMBER]},
        "memorisation": {"anyOf": [MEMORISATION, {"type": "null"}], "description": "null where nobody looked"},
        "generated": {"type": "array", "items": _ROW, "minItems": 1},
        "cost": _COST,
        "solvers": {"type": "array", "items": _SOLVER},
    },
    title="Figures of an evaluation",
)
# a label has a classifier; a number has a regressor and a unit
METRICS_SCHEMA["properties"] |= {"classifier": _JUDGE, "regressor": _JUDGE}
METRICS_SCHEMA["properties"]["settings"]["properties"]["unit"] = TEXT
METRICS_SCHEMA["oneOf"] = [{"required": ["classifier"]}, {"required": ["regressor"]}]
