"""The words in which people write down a sex."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["SEX_NAMES", "same_sex", "sex_of"]

SEX_NAMES = ("sex", "gender")  # of covariates whose labels may be given by other words
_WORDS = {
    "F": ("f", "female", "woman"),
    "M": ("m", "male", "man"),
    "O": ("o", "other"),
}
_SEXES = {word: sex for sex, words in _WORDS.items() for word in words}


def sex_of(word: object) -> str:
    """Return what a word says: ``F``, ``M``, ``O`` (other), or "" for any other word.

    Example:
        >>> sex_of("female"), sex_of(" M "), sex_of("Mother"), sex_of(None)
        ('F', 'M', '', '')
    """
    return _SEXES.get(str(word).strip().lower(), "")


def same_sex(word: object, labels: Iterable[str]) -> str | None:
    """Return the one label that says the same sex as a word; None when there is none, or more than one.

    Example:
        >>> same_sex("female", ["F", "M"]), same_sex("M", ["woman", "man"]), same_sex("x", ["F", "M"])
        ('F', 'man', None)
    """
    sex = sex_of(word)
    same = [label for label in labels if sex and sex_of(label) == sex]
    return same[0] if len(same) == 1 else None
