"""What images cost: counted, measured where they were made, and said in words."""

from types import SimpleNamespace

import torch

from medgen.apps.evaluation.cost import cost_of
from medgen.apps.report.cost import cost_rows, cost_section


def _images(*parts):
    return SimpleNamespace(evaluations=20, seconds=0.5, made_on=parts)


def _part(device, peak):
    return {"device": device, "peak_memory_bytes": peak, "memory_of": "process"}


def test_parameters_are_counted_and_the_peak_is_that_of_all_parts():
    found = cost_of(torch.nn.Linear(3, 2), torch.nn.Linear(1, 1), _images(_part("a", 5), _part("a", 7), _part("a", 6)))
    assert (found["parameters"], found["codec_parameters"]) == (8, 2)
    assert (found["peak_memory_bytes"], found["memory_of"], found["device"]) == (7, "process", "a")
    assert (found["evaluations_per_image"], found["seconds_per_image"]) == (20, 0.5)


def test_an_evaluation_that_went_on_elsewhere_names_both_devices():
    assert cost_of(None, None, _images(_part("a", None), _part("b", 1)))["device"] == "a and b"
    found = cost_of(None, None, _images())  # kept by an earlier version
    assert (found["peak_memory_bytes"], found["memory_of"], found["device"]) == (None, None, None)


def _metrics(cost, training):
    row = {"main": True, "evaluations_per_image": 20, "seconds_per_image": 0.08}
    model = {"parameters": 1234567, "iteration": 1500, "training": training}
    return {"model": model, "cost": cost, "generated": [row], "settings": {"guidance": 1.0}}


def test_words_of_cost():
    gpu = {"codec_parameters": 1000, "peak_memory_bytes": 3 * 2**29, "memory_of": "device", "device": "a GPU"}
    training = {"seconds": 7200.0, "images": 24000, "processes": 2, "device": "a GPU"}
    said = dict(cost_rows(_metrics(gpu, training)))
    assert said["Parameters"] == "1,234,567, and 1,000 of the codec"
    assert said["Peak memory"].startswith("1.50 GiB of GPU memory")
    assert said["Training"] == "1,500 iterations, 24,000 images, 2.0 h on 2 × a GPU"
    said = dict(cost_rows(_metrics(None, None)))
    assert said["Peak memory"] == said["Generated on"] == "not recorded"
    assert said["Training"] == "1,500 iterations, time not recorded"
    cpu = gpu | {"memory_of": "process"}
    assert "the whole evaluation" in cost_section(_metrics(cpu, None))
