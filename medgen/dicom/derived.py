"""Images made of a patient's image as DICOM: translation, super-resolution, in-painting, or plain processing.

They are patient data. What is taken over from the source is an allowlist, and without the identity unless that is asked
for; what was generated is marked as synthetic images are.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from medgen import __version__
from medgen.dicom.deidentify import DEIDENTIFICATION, check_unnamed, deidentify
from medgen.dicom.files import quiet_pydicom
from medgen.dicom.instances import mr_instances, write_instances
from medgen.dicom.keys import secret_key
from medgen.dicom.source_headers import (
    PATIENT,
    SERIES,
    STUDY,
    Source,
    check_forms,
    check_unknown,
    kept,
    read_sources,
    reference,
)
from medgen.dicom.synthetic import draw_notice, generated_marks, now, stored_intensities
from medgen.dicom.verify import check_derived, check_written

__all__ = ["derived_instances", "write_derived"]

# Body Part Examined of what may show a face (defined terms of PS3.16 annex L); "": unknown
_HEAD = ("", "BRAIN", "FACE", "HEAD", "HEADNECK", "SKULL", "WHOLEBODY")
# parameters of a generation that are of the method, never of the patient
_GENERATION = (
    "eta",
    "guidance",
    "guidance_interval",
    "network",
    "process",
    "scale",
    "seed",
    "solver",
    "steps",
    "strength",
)


@quiet_pydicom()
def derived_instances(
    image: Any,
    affine: Any,
    source: Source,
    *,
    generated: bool = True,
    deidentified: bool = True,
    key: bytes | None = None,
    same_space: bool = True,
    model_sha256: str | None = None,
    generation: Mapping[str, Any] | None = None,
    description: str = "",
    slice_axis: int | str = "axial",
    burned_in: bool | None = None,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> list[Dataset]:
    """Build one MR series of an image that was made of a patient's, a dataset for each slice.

    Every instance refers to its sources in the Source Image Sequence. De-identified, it has none of the patient's
    names, IDs, dates, age and sex, and the UIDs of study, frame of reference and sources are mapped under the key, as
    those of the sources are by :func:`medgen.dicom.deidentify.deidentify`. The pixels stay as they are: a head can be
    recognised by its face, which is what Recognizable Visual Features (0028,0302) YES says of images of a head or of an
    unknown part of the body; whether the face was removed is not looked into.

    Args:
        image: (X, Y, Z), or (1, X, Y, Z).
        affine: (4, 4), voxel to RAS mm, axes at right angles.
        source: the patient's images: a folder, a file, or their headers.
        generated: whether a model generated pixels: the instances then bear the marks of
            :func:`medgen.dicom.verify.check_generated`; else Synthetic Data says NO.
        deidentified: remove the patient's identity. False keeps it, for images that stay in the hospital.
        key: secret of the map of UIDs, 16 bytes or more; None for :func:`medgen.dicom.keys.secret_key`.
        same_space: whether the image lies where its source does; False gives it a frame of reference of its own, as
            after a registration.
        model_sha256: of the model's weights.
        generation: parameters of the method, of those named eta, guidance, guidance_interval, network, process, scale,
            seed, solver, steps, strength; never what is known of the patient.
        description: follows SYNTHETIC DERIVED, or DERIVED, in the Series Description; it must not name the patient.
        slice_axis: see :func:`medgen.dicom.slicing.cut`.
        burned_in: write "SYNTHETIC - NOT FOR DIAGNOSIS" into the pixels; None does where they are generated.
        value_range: intensities that become the smallest and the largest stored value; what lies outside is cut off.

    Raises:
        ValueError: an argument is not as above, the sources are of several patients or studies, or text is burned
            into them.
        OptionalImportError: dicom-anonymizer is not installed; ``pip install "medgen[dicom]"``.
    """
    sources = read_sources(source)
    if unknown := sorted(set(generation or {}) - set(_GENERATION)):
        raise ValueError(f"generation: found {unknown}, expected only what is of the method: {list(_GENERATION)}")
    burned_in = generated if burned_in is None else burned_in
    if burned_in and not generated:
        raise ValueError("burned_in is True, and generated is False: the notice would not be true")
    key = secret_key() if deidentified and key is None else key
    header = kept(sources[0], (*PATIENT, *STUDY, *SERIES))
    if deidentified:
        for argument, text in (("description", description), ("generation", str(dict(generation or {})))):
            check_unnamed(argument, text, [header])
        header = deidentify(header, key)
    if not same_space:
        header.pop("FrameOfReferenceUID", None)
    check_forms(header)
    series = {name: header.get(name) for name in SERIES}
    series["PatientPosition"] = series["PatientPosition"] or ""  # unknown, where the source does not say
    references = [reference(item, key if deidentified else None) for item in sources]
    recognizable = "YES" if str(header.get("BodyPartExamined") or "") in _HEAD else None
    instances = mr_instances(
        stored_intensities(image, value_range),
        affine,
        patient={name: header.get(name) for name in (*PATIENT, *DEIDENTIFICATION[:3])},
        study={name: header.get(name) for name in STUDY},
        series=series | {"SeriesDescription": _series_description(generated, description)},
        image={"SourceImageSequence": references, "RecognizableVisualFeatures": recognizable},
        slice_axis=slice_axis,
        draw=draw_notice if burned_in else None,
    )
    marks = _marks(generated, model_sha256, dict(generation or {}), description, burned_in, not deidentified)
    if deidentified:
        marks.LongitudinalTemporalInformationModified = "REMOVED"
    for dataset in instances:
        dataset.update(marks)
        check_derived(dataset, generated=generated, deidentified=deidentified)
        if deidentified:
            check_unknown(dataset, sources)
    return instances


def write_derived(
    image: Any, affine: Any, source: Source, folder: str | os.PathLike[str], **options: Any
) -> list[Path]:
    """Build a series by :func:`derived_instances`, write it, read it back and check it.

    Args:
        image: see :func:`derived_instances`.
        affine: see :func:`derived_instances`.
        source: see :func:`derived_instances`.
        folder: made when absent.
        options: further arguments of :func:`derived_instances`.

    Returns:
        The files, in the order of the slices.

    Raises:
        MarkError: when what was written is not what should have been.
    """
    sources = read_sources(source)
    instances = derived_instances(image, affine, sources, **options)
    paths = write_instances(instances, folder)
    states = {name: options.get(name, True) for name in ("generated", "deidentified")}
    check_written(paths, instances, functools.partial(check_derived, **states))
    return paths


def _series_description(generated: bool, description: str) -> str:
    return f"{'SYNTHETIC ' if generated else ''}DERIVED {description}".strip()


def _marks(
    generated: bool,
    model_sha256: str | None,
    generation: dict[str, Any],
    description: str,
    burned_in: bool,
    dated: bool,
) -> Dataset:
    """Return what an instance says of how it was made; dated only where the patient's dates stay as well."""
    date, time = now()
    if generated:
        moment = date + time if dated else None
        return generated_marks(model_sha256, generation, f"DERIVED {description}".strip(), burned_in, moment)
    marks = Dataset()
    marks.add_new(0x0008001C, "CS", "NO")  # Synthetic Data
    marks.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    marks.Manufacturer = "medgen"
    marks.ManufacturerModelName = "medgen"
    marks.SoftwareVersions = __version__
    marks.BurnedInAnnotation = "NO"
    marks.DerivationDescription = f"Processed by medgen {__version__}"
    return marks
