"""A bundle's own training, run again on other people."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch

from medgen.apps.utility.labelled import refuse_leaks
from medgen.bundles.check import closure
from medgen.bundles.workflow import calling_workflow
from medgen.files import file_sha256, key_of, write_json
from medgen.networks.codec import IdentityCodec
from medgen.networks.loading import load_weights

__all__ = ["Recipe", "Trained"]

logger = logging.getLogger("medgen.utility")

_PLACES = (
    "bundle_root",
    "run_dir",
    "output_dir",
    "ckpt_dir",
    "dataset_dir",
    "utility_dir",
    "device",
    "resume",
    "cohort",
)


class Trained(NamedTuple):
    """A generator that was trained on the people of one size.

    Attributes:
        network: its averaged network, in evaluation mode.
        process: the process it was trained with.
        sampler: the configuration's.
        codec: None for pixel models.
        sha256: of the weights.
        facts: iteration, seconds and parameters, for the record.
    """

    network: Any
    process: Any
    sampler: Any
    codec: Any
    sha256: str
    facts: dict[str, Any]


class Recipe:
    """A training configuration as it stands, overrides included, to be run again on parts of its training split.

    Everything is the bundle's own (trainer, network, process, handlers, number of iterations) but the data sets, the
    cohort and the folders, which are put in their place.

    Args:
        config: a configuration with the keys that all bundles have: ``train``, ``validate``, ``sampler``, ``seed``.

    Raises:
        ValueError: when the generator would start from weights that may have seen the test set, or works on latents of
            a codec, which learned from more people than a part of the split.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        if config.get("pretrained") is not None:
            raise ValueError(
                f"pretrained: found {config['pretrained']!r}; weights from elsewhere may have learned from the test "
                "subjects, so a generator is trained from scratch here: leave it null"
            )
        codec = config.get("codec")
        target = codec.get("_target_", "") if isinstance(codec, Mapping) else type(codec).__name__
        if codec is not None and not str(target).endswith(IdentityCodec.__name__):
            raise ValueError(
                f"codec: found {target}; it was trained on all training subjects, so that a generator in its latents "
                "has not seen a part of them alone: use the pixel configuration, train.json"
            )
        self.config = deepcopy(dict(config))

    @classmethod
    def of_workflow(cls) -> Recipe:
        """The configuration of the calling workflow.

        Raises:
            RuntimeError: when it is not called by a workflow.
        """
        workflow = calling_workflow()
        if workflow is None:
            raise RuntimeError("Recipe.of_workflow: found no MONAI ConfigWorkflow that calls it")
        return cls(workflow.parser.get())

    def key(self, *data: str) -> str:
        """Hash of all that decides the weights: the data, and the settings but for places and the sampler.

        Another guidance or number of steps makes another synthetic set, with the same weights.

        Args:
            data: digests of the data sets.
        """
        settings = closure({**self.config, "sampler": None}, "train")
        for name in (*_PLACES, "sampler"):
            settings.pop(name, None)
        return key_of(settings, *data)

    def train(self, train: Any, validation: Any, cohort: Any, run_dir: Path, forbidden: set[str]) -> Trained:
        """Train a generator, or go on with one, or read a finished one.

        Args:
            train: what it learns from.
            validation: what chooses among its weights.
            cohort: for the manifest beside the weights.
            run_dir: the folder of the run; one that was interrupted goes on from its latest checkpoint.
            forbidden: subjects that it must not see.

        Raises:
            medgen.data.CohortError: when one of them is in what the configuration trains or validates on.
            ValueError: when the configuration does not train on the data sets it is given.
        """
        from monai.bundle import ConfigParser

        config = deepcopy(self.config)
        parser = ConfigParser(config)
        places = {"run_dir": run_dir, "ckpt_dir": str(run_dir / "models"), "output_dir": str(run_dir)}
        data = {"cohort": cohort, "train::dataset": train, "validate::dataset": validation}
        for name, value in (places | data).items():
            parser[name] = value
        parser.parse(True)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):  # the initial weights are a function of the seed
            torch.manual_seed(int(parser.get_parsed_content("seed")))
            trainer = parser.get_parsed_content("train::trainer")
        seen = {"training": trainer.data_loader, "validation": parser.get_parsed_content("validate::dataloader")}
        for what, given in (("training", train), ("validation", validation)):
            found = getattr(getattr(seen[what], "dataset", None), "subjects", None)
            if found is None or set(map(str, found)) != set(map(str, given.subjects)):
                raise ValueError(
                    f"the configuration's {what} loader does not read @train::dataset or @validate::dataset"
                )
        refuse_leaks({name: loader.dataset for name, loader in seen.items()} | {"test": forbidden})

        weights, record = run_dir / "model.pt", run_dir / "generator.json"
        done = json.loads(record.read_text(encoding="utf-8")) if record.is_file() and weights.is_file() else {}
        if done.get("sha256") != (file_sha256(weights) if weights.is_file() else None) or not done:
            started = time.monotonic()
            trainer.run()
            done = {"sha256": file_sha256(weights), "seconds": time.monotonic() - started}
            write_json(record, done)
        else:
            logger.info("generator: found %s", weights)
        network = trainer.inference_network
        network.load_state_dict(load_weights(weights))
        manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
        facts = {
            "iteration": manifest["iteration"],
            "iterations": trainer.state.max_epochs * trainer.state.epoch_length,
            "seconds": round(float(done["seconds"]), 1),
            "parameters": sum(p.numel() for p in network.parameters()),
            "process": trainer.process.to_dict(),
        }
        sampler = parser.get_parsed_content("sampler")
        return Trained(network.eval(), trainer.process, sampler, trainer.codec, done["sha256"], facts)
