"""One T1-weighted scan per subject and visit, by a declared rule."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medgen.data.sources import Discard, Item
from medgen.spelling import nearest, one_of

__all__ = ["Candidate", "ScanRule", "choose_scans"]

# as ADNI's sites, OASIS and scanners' defaults name T1-weighted volumes (MPRAGE, IR-SPGR, TFE, BRAVO ...)
T1 = r"mp[-_ ]?rage|mprag|^mpr(-r)?(;|_|$)|spgr|(?<![a-z0-9])m?t1|bravo|(?<![a-z])tf[le]"
# what is named after a T1 scan and is none, and what only sounds like one
NOT_T1 = (
    r"locali[sz]|scout|survey|smartbrain|plane|calib|mask|label|harp|segment|normali[sz]ed|t2(?!\d)|flair|\bpd\b|dti|dwi"
    r"|diff|asl|perf|fmri|rest|bold|field.?map|swi|\bgre\b|star|\bmra|tof|angio|t1.?map"
    r"|mpr[-_ ](cor|tra|sag|ax)|(cor|tra|sag|ax)\w* mpr\b|mp(r|rage).?range"  # reformatted copies
)
ACCELERATED = r"accel|(?<!no)(?<!no[-_ ])(?:grappa|sense|asset)|\barc\b|ipat|caipi|\bp2\b|_p2_"
REPEAT = r"repeat|\brpt|\brep\b|mpr-r"
CORRECTIONS = (r"gradwarp", r"b1[ _]?corr", r"\bn3|_n3|\bn4|_n4", r"scaled")


@dataclass(frozen=True)
class ScanRule:
    """Which of the scans of a subject's visit is taken.

    Only T1-weighted scans count: MR, with a description that ``include`` finds and ``exclude`` does not (regular
    expressions, case ignored). Of these, in this order of importance:

    1. ``version``: "original" takes the scan as acquired before GradWarp, B1, N3 and Scaled versions of it (fewer
       corrections first), "processed" the version with the most corrections;
    2. ``field_strength``: a scan at this field strength before others (ADNI-1 scanned some at 1.5 T and 3 T). None is
       the one at which most of the subject's visits were scanned, the higher one of two, so that a change from visit to
       visit is not one of scanners;
    3. a scan that is not accelerated;
    4. the first of a scan and its repeat;
    5. the earlier one, then the one with the lower image ID.

    Args:
        version: "original" or "processed".
        field_strength: preferred, in T; None for the subject's most frequent one.
        include: what descriptions of T1-weighted scans have.
        exclude: what descriptions of other scans have.

    Raises:
        ValueError: when an argument is none of its choices, or no regular expression.
    """

    version: str = "original"
    field_strength: float | None = None
    include: str = T1
    exclude: str = NOT_T1

    def __post_init__(self) -> None:
        one_of("scan_rule: version", self.version, ("original", "processed"))
        for name in ("include", "exclude"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                raise ValueError(f"scan_rule: {name} is no regular expression: {error}") from error

    @classmethod
    def of(cls, rule: ScanRule | Mapping[str, Any] | None) -> ScanRule:
        """Return a rule from itself, from its arguments (JSON), or the default one."""
        if isinstance(rule, ScanRule):
            return rule
        arguments = dict(rule or {})
        names = list(cls.__dataclass_fields__)
        for name in arguments:
            if name not in names:
                raise ValueError(f"scan_rule: no argument {name!r}{nearest(name, names)}; expected some of {names}")
        return cls(**arguments)

    def why_not(self, description: str, modality: str = "") -> str | None:
        """Say why a scan is not T1-weighted, None when it is.

        Example:
            >>> rule = ScanRule()
            >>> [rule.why_not(d) is None for d in ("MP-RAGE REPEAT", "Accelerated SAG IR-SPGR", "MT1; GradWarp; N3m")]
            [True, True, True]
            >>> [rule.why_not(d) is None for d in ("Axial T2 FLAIR", "3 Plane Localizer", "MPR; Mask")]
            [False, False, False]
        """
        if modality and modality.upper() not in ("MR", "MRI"):
            return f"not MR but {modality}"
        if re.search(self.exclude, description, re.IGNORECASE) or not re.search(self.include, description, re.I):
            return "not a T1-weighted scan by its description"
        return None


@dataclass(frozen=True)
class Candidate:
    """A scan that may be taken.

    Attributes:
        item: the image; scans of one subject and ``visit`` compete.
        visit: the same text for scans of one visit of a subject.
        description: of the series.
        modality: "MR" or "MRI", "" when unknown.
        processed: whether the archive calls it a processed version; corrections in the description say so too.
        field_strength: in T, None when unknown.
        when: text that sorts by time.
        number: image ID or series number.
        flaw: why the images themselves cannot be taken, "" when they can.
        about: what else the layout knows of the scan.
    """

    item: Item
    visit: str
    description: str
    modality: str = ""
    processed: bool = False
    field_strength: float | None = None
    when: str = ""
    number: int = 0
    flaw: str = ""
    about: Mapping[str, str] = field(default_factory=dict)


def choose_scans(candidates: Sequence[Candidate], rule: ScanRule) -> tuple[list[Candidate], list[Discard]]:
    """Choose one scan per subject and visit.

    Returns:
        The chosen ones in the order given, and for each other one who, which, and the reason.
    """
    chosen: list[Candidate] = []
    discards: list[Discard] = []
    visits: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        reason = rule.why_not(candidate.description, candidate.modality) or candidate.flaw
        if reason:
            discards.append(discard(candidate, reason))
        else:
            visits[candidate.item.subject, candidate.visit].append(candidate)
    usual = _usual_strengths(visits)
    for (subject, _), group in visits.items():
        tesla = usual.get(subject) if rule.field_strength is None else rule.field_strength
        ranks = {id(c): _rank(c, rule.version, tesla) for c in group}
        best = min(group, key=lambda c: [value for value, _ in ranks[id(c)]])
        chosen.append(best)
        for other in group:
            if other is not best:
                pairs = zip(ranks[id(other)], ranks[id(best)], strict=True)
                reason = next((why for (value, why), (least, _) in pairs if value != least), "a copy")
                discards.append(discard(other, reason))
    order = {id(candidate): i for i, candidate in enumerate(candidates)}
    return sorted(chosen, key=lambda c: order[id(c)]), discards


def discard(candidate: Candidate, reason: str) -> Discard:
    """Describe a scan that is not taken."""
    return {
        "subject": candidate.item.subject,
        "scan": candidate.item.scan or candidate.about.get("visit", ""),
        "description": candidate.description,
        "image": str(candidate.item.images[0]),
        "reason": reason,
    }


def _usual_strengths(visits: Mapping[tuple[str, str], Sequence[Candidate]]) -> dict[str, float]:
    """Return the field strength at which most of each subject's visits were scanned, the higher one of two."""
    counts: dict[str, Counter[float]] = defaultdict(Counter)
    for (subject, _), group in visits.items():
        counts[subject].update({round(c.field_strength, 1) for c in group if c.field_strength is not None})
    return {subject: max(found, key=lambda t: (found[t], t)) for subject, found in counts.items() if found}


def _rank(candidate: Candidate, version: str, wanted: float | None) -> list[tuple[Any, str]]:
    """Return the values by which scans compete, the lowest wins, each with what it means to have a higher one."""
    text = candidate.description

    def has(pattern: str) -> bool:
        return re.search(pattern, text, re.IGNORECASE) is not None

    corrections = sum(has(pattern) for pattern in CORRECTIONS)
    processed = candidate.processed or corrections > 0
    wrong = processed if version == "original" else not processed
    tesla = candidate.field_strength
    off = wanted is not None and tesla is not None and abs(tesla - wanted) > 0.25
    return [
        (wrong, f"a {'processed' if processed else 'original'} version of a scan"),
        (corrections if version == "original" else -corrections, "a version with other corrections"),
        (off, f"not at {wanted:g} T" if wanted else ""),
        (has(ACCELERATED), "accelerated"),
        (has(REPEAT), "a repeat"),
        (candidate.when, "a later scan of the visit"),
        (candidate.number, "a later scan of the visit"),
    ]
