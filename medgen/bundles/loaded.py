"""A trained bundle, opened for generating images from Python."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from medgen.bundles import adopt_trained, find_bundle, load_trained, manifest_of, unobserved_covariates
from medgen.data.requests import GenerationRequests
from medgen.spelling import nearest

__all__ = ["LoadedBundle"]


class LoadedBundle:
    """What ``inference.json`` and ``models/model.pt`` describe, ready to generate; made by :func:`medgen.load`.

    Args:
        path: the bundle's folder.
        device: where the network runs; by default the first GPU, else the CPU.

    Attributes:
        root: the bundle's folder.
        covariates: what images can be conditioned on.
        network: the trained network, in evaluation mode on ``device``.
        process: the process it was trained with.
        codec: what stands between its latents and images; the identity for a pixel model.
        manifest: what is recorded beside the weights: SHA-256, iteration, data terms.

    Raises:
        FileNotFoundError: when the folder is no bundle, or holds no trained weights.
        ValueError: when the weights are damaged or belong to another network.
    """

    def __init__(self, path: str | Path, device: Any = None) -> None:
        self.root = find_bundle(path)
        self._parser = ConfigParser()
        self._parser.read_config(self.root / "configs" / "inference.json")
        self._parser.read_meta(self.root / "configs" / "metadata.json")
        self._parser["bundle_root"] = str(self.root)
        weights = Path(str(self._parser.get_parsed_content("ckpt_dir"))) / "model.pt"
        adopt_trained(self._parser, weights, self.root / "configs")
        self.manifest = manifest_of(weights)
        chosen = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
        self.device = torch.device(chosen)
        self._parser["device"] = str(self.device)
        self._parser.parse(reset=True)
        self._config = deepcopy(self._parser.get())
        self.covariates = self._parser.get_parsed_content("covariates")
        self.process = self._parser.get_parsed_content("process")
        self.codec = self._parser.get_parsed_content("codec")
        network = self._parser.get_parsed_content("network_def")
        self.network = load_trained(network, weights, self.device, self.codec)

    def __repr__(self) -> str:
        return f"LoadedBundle({self.root.name}, {self.covariates}, {self.device})"

    def generate(self, n: int = 16, seed: int = 0, progress: bool = False, **values: Any) -> torch.Tensor:
        """Generate images.

        Args:
            n: images per condition.
            seed: image i depends on ``seed``, i and its condition alone, not on ``n``.
            progress: show a progress bar.
            values: covariates (a label, a number, or a list of them, which makes one condition per value; what is not
                given is unknown) and sampling settings of ``inference.json`` such as ``steps``, ``solver``,
                ``guidance`` and ``image_size``.

        Returns:
            ``(n * conditions, C, *spatial)`` float32 in [-1, 1] on the CPU, condition by condition.

        Raises:
            ValueError: for an unknown name, label, number or setting, naming the nearest valid one.

        Example:
            >>> bundle = LoadedBundle("bundles/adni_ddim")  # doctest: +SKIP
            >>> bundle.generate(diagnosis="AD", age=75, n=16, seed=0).shape  # doctest: +SKIP
            torch.Size([16, 1, 128, 128])
        """
        settings = {name: value for name, value in values.items() if name not in self.covariates}
        self._refuse(settings)
        parser = ConfigParser(deepcopy(self._config) | settings)
        parser.locator = self._parser.locator
        parser["progress"] = progress
        parser["process"] = self.process
        parser["codec"] = self.codec
        wanted = {name: values[name] for name in self.covariates if name in values}
        for name in unobserved_covariates(self.manifest.get("config") or {}, wanted):
            del wanted[name]
        requests = GenerationRequests(self.covariates, n=n, seed=seed, **wanted).batch()
        try:
            inferer = parser.get_parsed_content("inferer")
        except RuntimeError as error:  # MONAI hides what a component said behind what it was
            if isinstance(error.__cause__, (TypeError, ValueError)):
                raise ValueError(str(error.__cause__)) from error
            raise
        with torch.inference_mode():
            images = inferer(requests["seed"], self.network, covariates=requests["covariates"])
        return images.clamp(-1, 1)

    def _refuse(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that sampling does not read."""
        allowed = self._sampling_keys()
        for name in settings:
            if name not in allowed:
                raise ValueError(
                    f"{name}: is neither a covariate ({', '.join(self.covariates)}) nor a setting of sampling "
                    f"({', '.join(sorted(allowed))}){nearest(name, [*self.covariates, *allowed])}"
                )

    def _sampling_keys(self) -> set[str]:
        """Return the top-level keys, with plain values, that ``inferer`` and ``sampler`` refer to."""
        found: set[str] = set()
        waiting = ["inferer"]
        while waiting:
            for name in self._parser.ref_resolver.find_refs_in_config(self._config[waiting.pop()], ""):
                key = name.split("::")[0]
                if key in self._config and key not in found | {
                    "process",
                    "codec",
                    "network_def",
                    "covariates",
                    "bundle_root",
                }:
                    found.add(key)
                    waiting.append(key)
        return {key for key in found if not isinstance(self._config[key], dict) or "_target_" not in self._config[key]}
