"""The commands: people's images translated, interpolated, restored or filled in, written as pictures and files."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medgen.apps.translation.changes import Changes, same_as
from medgen.apps.translation.people import SourceImages
from medgen.apps.translation.pictures import DIFFERENCE_LABEL, difference_map, strip
from medgen.apps.translation.writing import DerivedImages
from medgen.covariates import Covariates
from medgen.handlers.save_samples import extrapolated
from medgen.inferers import Interpolate, Translate
from medgen.metrics.image_error import mean_absolute_error, psnr

__all__ = ["ImageTask", "InterpolateImages", "TranslateImages"]

logger = logging.getLogger("medgen.translation")


class ImageTask:
    """What the commands share.

    Args:
        network: with its trained weights, on its device.
        inferer: what is done with an image.
        people: whose images.
        covariates: the model's declaration.
        output_dir: see :class:`medgen.apps.translation.writing.DerivedImages`.
        manifest: the model's manifest; its ``sha256`` is recorded, and what lies outside what training saw is flagged.
        settings: recorded in every file, for example solver and steps.
        png: write single PNG files.
        nifti: write NIfTI files.
    """

    def __init__(
        self,
        network: Any,
        inferer: Any,
        people: SourceImages,
        covariates: Covariates,
        output_dir: str | os.PathLike[str],
        manifest: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        png: bool = True,
        nifti: bool = True,
    ) -> None:
        self.network, self.inferer, self.people, self.covariates = network, inferer, people, covariates
        known = manifest or {}
        self.observed: Mapping[str, Any] = (known.get("config") or {}).get("observed") or {}
        self.model = str(known.get("sha256", "unknown"))
        self.output_dir, self.settings, self.png, self.nifti = output_dir, settings, png, nifti

    def writer(self, **more: Any) -> DerivedImages:
        """Return the folder to write to; ``more`` is recorded in every file."""
        settings = {**(self.settings or {}), **more}
        people = self.people
        where = (people.pixel_mm, people.affine)
        return DerivedImages(self.output_dir, people.simulated, self.model, settings, self.png, self.nifti, *where)

    def facts(self, row: Tensor, **more: Any) -> dict[str, Any]:
        """Return an image's covariates and what of them was extrapolated, for its record."""
        known = self.covariates.decode(row)
        flagged = {"extrapolated": " ".join(extrapolated(known, self.observed))} if self.observed else {}
        return {**known, **flagged, **more}

    def warn_extrapolated(self, rows: Tensor, title: str) -> None:
        """Say which covariates lie outside what training saw."""
        for name in self.covariates.names:
            known = [self.covariates.decode(row) for row in rows]
            count = sum(name in extrapolated(values, self.observed) for values in known)
            if count:
                logger.warning("%s: %s of %d image(s) lies outside what training saw: extrapolated", title, name, count)

    def names(self) -> list[str]:
        """Return short names of the people: age, sex and whatever labels are known, but no identifier."""
        names = []
        for row in self.people.covariates:
            known = self.covariates.decode(row)
            parts = [f"{known['age']:.0f} y"] if isinstance(known.get("age"), float) else []
            labels = [n for n in self.covariates.categorical if n != "plane" and known[n] is not None]
            names.append(", ".join(parts + [str(known[n]) for n in labels]) or "unknown")
        return names


class TranslateImages(ImageTask):
    """Show people's images with other covariates, beside what the way there and back alone does to them.

    Writes ``translation.png`` (source, no-change control, every condition, map of the last one's difference from the
    control), ``strengths.png`` (the last condition at several strengths), ``translation.gif`` (through the conditions),
    the single images as PNG and NIfTI, and ``manifest.csv``.

    Args:
        changes: what is asked.
        strengths: of ``strengths.png``; None leaves it out.
        task: arguments of :class:`ImageTask`.
    """

    def __init__(self, changes: Changes, strengths: Sequence[float] | None = None, **task: Any) -> None:
        super().__init__(**task)
        if not isinstance(self.inferer, Translate):
            raise ValueError(f"inferer: expected medgen.inferers.Translate, found {type(self.inferer).__name__}")
        self.changes, self.strengths = changes, [float(s) for s in strengths or ()]

    def run(self) -> DerivedImages:
        """Translate and write."""
        people, inferer = self.people, self.inferer
        out = self.writer(strength=inferer.strength, refinements=inferer.refinements)
        asked = torch.cat([same_as(people.covariates), self.changes.targets(people.covariates)], dim=1)
        titles = ["no change", *self.changes.titles]
        for number, title in enumerate(titles[1:], start=1):
            self.warn_extrapolated(asked[:, number], title)
        logger.info("translating %d image(s), %d condition(s) each", len(asked), len(titles))
        made = inferer(people.images, self.network, people.covariates, asked).clamp(-1, 1)
        error = mean_absolute_error(made[:, 0], people.images)
        for i, row in enumerate(asked):
            for number, title in enumerate(titles):
                facts = self.facts(row[number], change=title, no_change_error=round(float(error[i]), 5))
                out.image(made[i, number], i, _slug(title), facts, people.planes[i])
        logger.info(
            "no-change control: mean absolute error %.4f, PSNR %.1f dB (range 2)",
            float(error.mean()), float(psnr(made[:, 0], people.images).mean()),
        )  # fmt: skip
        facts = {"conditions": titles, "difference": f"{titles[-1]} minus no change, {DIFFERENCE_LABEL}"}
        rows = [[people.images[i], *made[i], difference_map(made[i, -1], made[i, 0])] for i in range(len(made))]
        out.picture(strip(rows, ["source", *titles, "difference"], self.names()), "translation.png", facts)
        frames = [
            strip([[people.images[i], made[i, k]] for i in range(len(made))], ["source", title.ljust(24)], self.names())
            for k, title in enumerate(titles)
        ]
        width = min(frame.shape[1] for frame in frames)
        out.film([frame[:, :width] for frame in frames], "translation.gif", facts)
        if self.strengths:
            self._strengths(out, asked[:, [0, -1]], titles[-1])
        out.finish()
        return out

    def _strengths(self, out: DerivedImages, asked: Tensor, title: str) -> None:
        people = self.people
        columns = [people.images[:, None]]
        titles = ["source"]
        for strength in self.strengths:
            columns.append(self.inferer(people.images, self.network, people.covariates, asked, strength=strength))
            titles += [f"no change {strength:g}", f"{title} {strength:g}"]
        made = torch.cat(columns, dim=1).clamp(-1, 1)
        rows = [[*row, difference_map(row[-1], row[-2])] for row in made]
        facts = {"strengths": self.strengths, "change": title, "difference": f"at the last, {DIFFERENCE_LABEL}"}
        out.picture(strip(rows, [*titles, "difference"], self.names()), "strengths.png", facts)


class InterpolateImages(ImageTask):
    """Show what lies between two people's images, youngest with oldest, and so on inwards.

    Writes ``interpolation.png`` (a row for each pair), ``interpolation.gif``, the single images and ``manifest.csv``.

    Args:
        task: arguments of :class:`ImageTask`; an even number of people.
    """

    def __init__(self, **task: Any) -> None:
        super().__init__(**task)
        if not isinstance(self.inferer, Interpolate):
            raise ValueError(f"inferer: expected medgen.inferers.Interpolate, found {type(self.inferer).__name__}")
        count = len(self.people.subjects)
        if count < 2 or count % 2:
            raise ValueError(f"people: expected an even number of images, two a pair; found {count}")

    def run(self) -> DerivedImages:
        """Interpolate and write."""
        from medgen.inferers.interpolate import between_covariates

        people, inferer = self.people, self.inferer
        out = self.writer(strength=inferer.strength, refinements=inferer.refinements)
        half = len(people.subjects) // 2
        first, second = list(range(half)), [len(people.subjects) - 1 - i for i in range(half)]
        source, target = people.covariates[first], people.covariates[second]
        made = inferer(people.images[first], self.network, people.images[second], source, target).clamp(-1, 1)
        rows = []
        for i in range(half):
            for k, share in enumerate(inferer.shares):
                row = between_covariates(source[i : i + 1], target[i : i + 1], share, self.covariates)[0]
                facts = self.facts(row, share=round(share, 4), other_person=second[i])
                out.image(made[i, k], first[i], f"share_{k:02d}", facts, people.planes[first[i]])
            rows.append([people.images[first[i]], *made[i], people.images[second[i]]])
        names = self.names()
        titles = ["source", *(f"{share:.2g}" for share in inferer.shares), "source"]
        pairs = [f"{names[first[i]]} to {names[second[i]]}" for i in range(half)]
        facts = {"shares": inferer.shares}
        out.picture(strip(rows, titles, pairs), "interpolation.png", facts)
        frames = [
            strip([[row[1 + k]] for row in rows], [f"{share:.2f}"], ["" for _ in rows])
            for k, share in enumerate(inferer.shares)
        ]
        out.film(frames, "interpolation.gif", facts, milliseconds=300)
        ends = torch.cat([made[:, 0] - people.images[first], made[:, -1] - people.images[second]])
        logger.info("ends: mean absolute error %.4f", float(ends.abs().mean()))
        out.finish()
        return out


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower().replace("+", "plus_").replace("-", "minus_")).strip("_")
