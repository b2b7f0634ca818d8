"""A quick stand-in for the real transforms, which workers can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from medgen.data.images import foreground, read_image


def read(data: dict) -> dict:
    """Read the image; what is not 0 is the brain; keep the image from before, 'registered' with a volume of 2."""
    image = read_image(data["image"])
    mask = torch.from_numpy(foreground(image))[None]
    affine = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    facts = {"template_affine": affine, "determinant": 2.0, "similarity": 0.9, "registration_problem": ""}
    image.meta |= facts
    brain = MetaTensor(mask.float(), affine=image.affine)
    return data | {"image": MetaTensor(image * mask, meta=image.meta), "brain_mask": brain, "head": image}


def pause(data: dict) -> dict:
    """Take as long as ``TOY_SECONDS`` says."""
    time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
    return data


def die(data: dict) -> dict:
    """Kill the process, as the system does when memory runs out, for the subject that ``TOY_KILLS`` names."""
    if data["subject"] == os.environ.get("TOY_KILLS"):
        os.kill(os.getpid(), signal.SIGKILL)
    return data


def count(data: dict) -> dict:
    """Leave a line in the file ``TOY_LOG`` names, to tell what was processed and how often."""
    if path := os.environ.get("TOY_LOG"):
        with open(Path(path), "a") as file:
            file.write(f"{data['subject']}\n")
    return data


def pipeline() -> Compose:
    return Compose([count, pause, die, read])
