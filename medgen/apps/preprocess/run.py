"""A cohort through a pipeline of transforms, from the first scan to the page of quality control."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from medgen import __version__
from medgen.apps.preprocess.cluster import run_jobs
from medgen.apps.preprocess.places import DERIVATIVES, ScanPlace, places_of
from medgen.apps.preprocess.qc_page import write_qc_page
from medgen.apps.preprocess.quality import flags_of
from medgen.apps.preprocess.rim import OCTANTS, rim_test
from medgen.apps.preprocess.scan import Job, Keys, finished_record, process_scan
from medgen.apps.preprocess.settings import keep_settings
from medgen.apps.preprocess.tables import Finished, remove_empty_folders, write_cohort, write_owner_tables
from medgen.bundles.workflow import on_command_line, user_error
from medgen.data.tables import CohortError
from medgen.files import key_of
from medgen.progress import progress_bar
from medgen.spelling import nearest

__all__ = ["Preprocess"]

logger = logging.getLogger("medgen.preprocess")
KNOWN_VOLUME = "ventricle_ml"
Failure = tuple[ScanPlace, Mapping[str, Any], str]


class Preprocess:
    """Runs every scan of a cohort through a pipeline; the output folder is a cohort to train on.

    Below the output folder stand ``sub-<id>[/ses-<visit>]/anat/*_T1w.nii.gz``, ``participants.tsv`` with
    ``sub-<id>_sessions.tsv`` for what changes between visits, brain masks in ``derivatives/medgen``, and, readable by
    their owner alone, ``qc_private.html``, ``scans.csv``, ``failures.csv`` and ``discards.csv``.

    A run that was stopped, or killed, goes on: a scan is finished when its record is written, and is made anew when its
    files have changed. Other settings, or another version of medgen, are refused while there are scans made with the
    former ones, unless ``redo`` says that all shall be made anew. A scan that fails is listed and the rest
    goes on.

    Args:
        cohort: the :class:`medgen.data.Cohort`; its images are volumes.
        pipeline: MONAI's ``Compose`` of dictionary transforms, called with each record.
        output_dir: the output folder; made with mode 0700 unless the people are simulated.
        settings: configuration of the pipeline, JSON.
        template: whose brain is outlined in the pictures, see :func:`medgen.data.templates.open_template`.
        image: key of the finished image in the pipeline's result, (1, X, Y, Z), the background lowest.
        mask: key of the brain mask on the same grid.
        head: key of the image before masking on the same grid; None where the pipeline does not keep it.
        label: the covariate that the rim around the brain should not tell; its first and last label are compared.
        suffix: BIDS suffix of the written images.
        mask_files: where a brain mask of each scan lies, such as ``masks/{subject}_{scan}.nii.gz``; a scan that has one
            gets its path as "mask_file" in its record.
        keep_columns: columns of the cohort's table to carry over, beside covariates and site.
        workers: processes on this machine; 0 for none but this one, None for what fits.
        scheduler: address of a Dask scheduler instead.
        memory_limit: of each local worker, such as "3GiB", or "auto".
        redo: make scans anew that were made with other settings.
        progress: show a progress bar.

    Raises:
        CohortError: when images are pictures.
        ValueError: when ``output_dir`` is missing or lies in the cohort's folder, ``label`` is no categorical
            covariate, a column to keep is not there, or no mask is found.
    """

    def __init__(
        self,
        cohort: Any,
        pipeline: Callable[[dict[str, Any]], Mapping[str, Any]],
        output_dir: str | os.PathLike[str],
        settings: Mapping[str, Any],
        template: Any = "mni152",
        image: str = "image",
        mask: str = "brain_mask",
        head: str | None = "head",
        label: str | None = "diagnosis",
        suffix: str = "T1w",
        mask_files: str | None = None,
        keep_columns: Sequence[str] = (),
        workers: int | None = None,
        scheduler: str | None = None,
        memory_limit: str | float = "auto",
        redo: bool = False,
        progress: bool = True,
    ) -> None:
        if not output_dir:
            raise user_error(ValueError("output_dir: found none, expected a folder to write to: --output_dir OUT"))
        if label is not None and not (label in cohort.covariates and cohort.covariates.is_categorical(label)):
            raise ValueError(f"label: {label!r} is no categorical covariate of {list(cohort.covariates.names)}")
        if any("slice_index" in record for record in cohort.records):
            raise CohortError(f"{cohort.root}: holds slice pictures, expected volumes; pictures need no preprocessing")
        self.cohort, self.pipeline, self.settings, self.template = cohort, pipeline, dict(settings), template
        self.output_dir = _separate(Path(output_dir), cohort)
        self.keys, self.label, self.keep_columns = Keys(image, mask, head), label, _columns(cohort, keep_columns)
        self.places = places_of(cohort.records, suffix)
        self.records = _with_masks(cohort.records, mask_files)
        self.workers, self.scheduler, self.memory_limit = workers, scheduler, memory_limit
        self.progress, self.redo = progress, redo
        self.made_with = {
            "medgen": __version__,
            "suffix": suffix,
            "simulated": bool(cohort.simulated),
            "pipeline": self.settings,
        }
        self.key = key_of(self.made_with)

    def run(self) -> dict[str, Any]:
        """Process what is not finished, and write the tables and the page.

        Returns:
            "finished", "failed", "skipped" (finished before) and "flagged": how many; "page": path of the QC page.

        Raises:
            RuntimeError: when every scan failed, or another run writes to the folder.
            ValueError: when the folder holds scans that are not of this cohort, or that other settings made.
        """
        self._open_folder()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(FileLock(self.output_dir / ".lock", timeout=0))
            except Timeout:
                raise user_error(RuntimeError(f"{self.output_dir}: another run is writing there")) from None
            self._refuse_strangers()
            there = sum((self.output_dir / place.record).is_file() for place in self.places)
            keep_settings(self.output_dir, self.made_with, there, self.redo)
            results = [finished_record(self.output_dir, job) for job in self._jobs()]
            skipped = sum(result is not None for result in results)
            self._process(results, skipped)
            return self._conclude(results, skipped)

    def _jobs(self) -> list[Job]:
        folder, simulated = str(self.output_dir.resolve()), bool(self.cohort.simulated)
        return [
            Job(record, place, folder, self.pipeline, self.key, self.keys, self.template, simulated)
            for record, place in zip(self.records, self.places, strict=True)
        ]

    def _process(self, results: list[dict[str, Any] | None], skipped: int) -> None:
        """Fill in the results that are not there yet."""
        place_of = {place: index for index, place in enumerate(self.places)}
        waiting = [job for job, result in zip(self._jobs(), results, strict=True) if result is None]
        if skipped:
            logger.info("%d of %d scans are finished already", skipped, len(results))
        work = run_jobs(process_scan, waiting, self.workers, self.scheduler, self.memory_limit, self.output_dir)
        failed, done = 0, 0
        try:
            with (
                contextlib.closing(work),
                progress_bar(
                    show=self.progress and bool(waiting),
                    total=len(results),
                    initial=skipped,
                    desc="preprocess",
                    unit=" scans",
                ) as bar,  # fmt: skip
            ):
                for job, result in work:
                    results[place_of[job.place]] = result
                    done += 1
                    if "error" in result:
                        failed += 1
                        bar.set_postfix(failed=failed, refresh=False)
                        logger.warning("%s failed: %s", job.place.name, result["error"])
                    bar.update()
        except (ConnectionError, ValueError, ImportError) as error:
            if on_command_line():
                raise user_error(error) from None
            raise
        except KeyboardInterrupt:
            logger.warning(
                "stopped: %d of %d scans are finished; the same command goes on", skipped + done - failed, len(results)
            )
            if on_command_line():
                raise SystemExit(130) from None
            raise

    def _conclude(self, results: Sequence[dict[str, Any] | None], skipped: int) -> dict[str, Any]:
        """Write tables and page from what is finished, and say how it went."""
        scans, failures = [], []
        for record, row, place, result in zip(
            self.cohort.records, self.cohort.columns, self.places, results, strict=True
        ):
            if result is None or "error" in result:
                failures.append((place, record, str((result or {}).get("error", "was not processed"))))
            else:
                scans.append((place, record, row, result))
        flags = flags_of([result for *_, result in scans])
        finished = [
            Finished(place, record, row, result, found)
            for (place, record, row, result), found in zip(scans, flags, strict=True)
        ]
        write_owner_tables(self.output_dir, self.cohort, finished, failures)
        if not finished:
            raise user_error(
                RuntimeError(
                    f"all {len(failures)} scans failed; {failures[0][0].name}: {failures[0][2]}; the others are in "
                    f"{self.output_dir / 'failures.csv'}"
                )
            )
        write_cohort(self.output_dir, self.cohort, finished, self.settings, self.keep_columns)
        remove_empty_folders(self.output_dir, [place for place, *_ in failures])
        page = write_qc_page(
            self.output_dir / "qc_private.html", self.cohort, finished, failures, self._rim(finished), self.settings
        )
        flagged = sum(bool(scan.flags) for scan in finished)
        self._report(finished, failures, skipped, flagged, page)
        return {
            "finished": len(finished),
            "failed": len(failures),
            "skipped": skipped,
            "flagged": flagged,
            "page": str(page),
        }

    def _report(
        self, finished: Sequence[Finished], failures: Sequence[Failure], skipped: int, flagged: int, page: Path
    ) -> None:
        if failures:
            logger.warning("=" * 78)
            logger.warning("%d OF %d SCANS FAILED and are not in the cohort:", len(failures), len(self.places))
            for place, _, error in failures[:20]:
                logger.warning("  %s: %s", place.name, " ".join(error.split())[:300])
            if len(failures) > 20:
                logger.warning("  and %d more", len(failures) - 20)
            logger.warning("All of them: %s", self.output_dir / "failures.csv")
            logger.warning("=" * 78)
        logger.info("%d scans finished (%d before), %d flagged; look at %s", len(finished), skipped, flagged, page)

    def _rim(self, finished: Sequence[Finished]) -> dict[str, Any]:
        """Whether the rim tells the first from the last label."""
        declared = self.cohort.covariates[self.label] if self.label else ()
        labels = (declared[0], declared[-1]) if isinstance(declared, tuple) and len(declared) > 1 else ("—", "—")
        chosen = [scan for scan in finished if scan.measured.get("rim") and scan.record.get(str(self.label)) in labels]
        features = np.array([scan.measured["rim"] for scan in chosen], dtype=np.float64).reshape(len(chosen), OCTANTS)
        positive = np.array([scan.record[str(self.label)] for scan in chosen]) == labels[1]
        return rim_test(features, positive, [scan.place.subject for scan in chosen]) | {"labels": labels}

    def _open_folder(self) -> None:
        """Make the folder, for its owner alone when the people are real."""
        if not self.output_dir.exists():
            self.output_dir.mkdir(parents=True, mode=0o777 if self.cohort.simulated else 0o700)
        elif not self.cohort.simulated and self.output_dir.stat().st_mode & 0o077:
            logger.warning("%s can be read by others; images of participants go there", self.output_dir)

    def _refuse_strangers(self) -> None:
        """A folder holds one cohort: scans of another would be trained on without their covariates."""
        own = {place.record for place in self.places}
        found = [
            path.relative_to(self.output_dir) for path in (self.output_dir / DERIVATIVES).rglob("*_desc-qc_*.json")
        ]
        if strangers := sorted(str(path) for path in set(found) - own):
            raise user_error(
                ValueError(
                    f"output_dir: {self.output_dir} holds {len(strangers)} scan(s) that are not in this cohort, such "
                    f"as {Path(strangers[0]).name}; name another folder, or remove them"
                )
            )


def _separate(output: Path, cohort: Any) -> Path:
    """Return the output folder, absolute, if it lies outside of what the cohort is found in."""
    output, folder = output.expanduser().resolve(), Path(cohort.folder).resolve()
    if output == folder or (folder in output.parents and cohort.layout != "table"):
        raise user_error(ValueError(f"output_dir: {output} lies in the cohort's folder; expected one outside of it"))
    return output


def _with_masks(records: Sequence[Mapping[str, Any]], pattern: str | None) -> list[dict[str, Any]]:
    """Return the records, with "mask_file" where a file of that pattern is there."""
    if pattern is None:
        return [dict(record) for record in records]
    try:
        paths = [Path(pattern.format(subject=r["subject"], scan=r.get("scan", ""))).expanduser() for r in records]
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"mask_files: {pattern!r} may hold {{subject}} and {{scan}} alone ({error!r})") from error
    found = sum(path.is_file() for path in paths)
    if not found:
        raise ValueError(f"mask_files: found no file such as {paths[0]}, expected one for each scan, or for some")
    logger.info("%d of %d scans have a brain mask of their own", found, len(records))
    return [
        dict(r) | ({"mask_file": str(path)} if path.is_file() else {}) for r, path in zip(records, paths, strict=True)
    ]


def _columns(cohort: Any, wanted: Sequence[str]) -> list[str]:
    """Return the columns to carry over: those wanted, and of simulated people the volume that is known of them."""
    there = list(dict.fromkeys(name for row in cohort.columns for name in row))
    if absent := [name for name in wanted if name not in there]:
        raise ValueError(f"keep_columns: found no column {absent[0]!r}{nearest(absent[0], there)} in {there}")
    known = [name for name in (KNOWN_VOLUME,) if cohort.simulated and name in there]
    return list(dict.fromkeys([*wanted, *known]))
