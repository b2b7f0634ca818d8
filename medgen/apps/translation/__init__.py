"""Images of people, changed: covariate translation and its evidence, interpolation, restoring and filling in."""

from medgen.apps.translation.changes import Changes
from medgen.apps.translation.evidence import TranslationEvidence
from medgen.apps.translation.people import source_images, trained_field_of_view
from medgen.apps.translation.repair import DenoiseImages, InpaintImages
from medgen.apps.translation.tasks import InterpolateImages, TranslateImages
from medgen.apps.translation.visits import check_axial, held_out_visits, read_visits

__all__ = [
    "Changes",
    "DenoiseImages",
    "InpaintImages",
    "InterpolateImages",
    "TranslateImages",
    "TranslationEvidence",
    "check_axial",
    "held_out_visits",
    "read_visits",
    "source_images",
    "trained_field_of_view",
]
