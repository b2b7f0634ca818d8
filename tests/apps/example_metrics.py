"""``metrics.json`` made from its schema, so that it has every part that the schema has, whatever is added to it."""

from __future__ import annotations

import copy
import json

from medgen.apps.report.schema import METRICS_SCHEMA


def figure(value, low=None, high=None):
    return {"value": value, "low": value - 0.1 if low is None else low, "high": value + 0.1 if high is None else high}


def example_metrics(of_label=True, name="example", simulated=True):
    """Figures of an evaluation of a label, or of a number, all of them 1 (0.9 to 1.1) where nothing else is said."""
    metrics = _example(METRICS_SCHEMA, 0 if of_label else 1)
    del metrics["regressor" if of_label else "classifier"]
    metrics |= {"name": name, "simulated": simulated, "notices": [], "created": "2030-01-01T00:00:00+00:00"}
    metrics["model"] |= {"sha256": "ab" * 32, "parameters": 4_000_000, "iteration": 1500}
    metrics["model"] |= {"config": {"seed": 0, "learning_rate": 0.001, "max_iterations": 1500}}
    metrics["data"] |= {"fingerprint": "0123456789abcdef", "split": "fedcba9876543210", "terms": "free to share"}
    metrics["data"] |= {"split_unit": "subject", "image_size": [64, 64], "pixel_mm": 3.0}
    labels = {"label": "diagnosis", "labels": ["NC", "AD"]} if of_label else {"label": "age", "labels": None}
    metrics["settings"] |= {**labels, "unit": "years", "guidance": 1.0, "guidances": [1.0], "level": 0.95, "seed": 0}
    metrics["settings"] |= {"process": {"_target_": "a.Flow"}, "sampler": {"_target_": "a.Sampler", "solver": "euler"}}
    metrics["extractor"] |= {"name": "in_domain", "sha256": None, "distance": "Fréchet distance"}
    metrics["software"] = {"medgen": "0.1.0", "commit": "unknown"}
    metrics["cost"] |= {"device": "a processor, 1 thread", "memory_of": "process", "peak_memory_bytes": 2**30}
    metrics["memorisation"]["kinds"][0]["kind"] = "exact"
    row = metrics["generated"][0]
    row |= {"guidance": 1.0, "main": True}
    row["originality"] |= {"near_copies": 0, "images": 256, "fraction": figure(0.0, 0.0, 0.02), "copied_subjects": 0}
    for name in ("precision", "density", "recall", "coverage"):
        row["fidelity"][name] = figure(0.8, 0.7, 0.9)
    return json.loads(json.dumps(metrics))  # no part shared with another


def changed(metrics, **parts):
    """A copy with other values: ``data__fingerprint="x"``; "row" is the row of the main guidance."""
    result = copy.deepcopy(metrics)
    for place, value in parts.items():
        *way, last = place.split("__")
        part = result
        for name in way:
            part = part["generated"][0] if name == "row" else part[name]
        part[last] = value
    return result


def _example(schema, which):
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        kinds = [kind for kind in schema["anyOf"] if kind.get("type") != "null"]
        return _example(kinds[min(which, len(kinds) - 1)], which)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if set(schema.get("properties", ())) >= {"value", "low", "high"}:
        return figure(1.0)
    if kind == "object":
        return {name: _example(part, which) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [_example(schema.get("items", {}), which) for _ in range(schema.get("minItems", 0))]
    return {"string": "text", "integer": 100, "number": 1.0, "boolean": True}.get(kind, {})
