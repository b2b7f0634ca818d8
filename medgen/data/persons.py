"""Whom a name shows: people and sites as BIDS, OASIS, ADNI and IXI write them in the names of scans."""

from __future__ import annotations

import re

__all__ = ["PERSON", "PTID", "person_of", "site_of"]

# in names that go on with session, repeat or series; ADNI4 has five digits, OASIS-3 no underscore
PERSON = re.compile(
    r"(?<![A-Za-z0-9])"
    r"(sub-[A-Za-z0-9]+|OAS[0-9]_?[0-9]{4}|[0-9]{3}_S_[0-9]{4,5}|IXI[0-9]{3})"
    r"(?![A-Za-z0-9])"
)
PTID = re.compile(r"[0-9]{3}_S_[0-9]{4,5}")
_SITE = re.compile(r"(?<![0-9])([0-9]{3})_?S_?[0-9]{4,5}(?![0-9])")  # BIDS allows no underscore: sub-941S9001


def person_of(name: str) -> str | None:
    """Return the person whom the name of a scan shows, None when it does not say.

    Example:
        >>> person_of("OAS1_0928_MR1"), person_of("ADNI_941_S_9001_MR_I123"), person_of("scan 7")
        ('OAS1_0928', '941_S_9001', None)
    """
    found = PERSON.search(name)
    return found.group(1) if found else None


def site_of(person: str) -> str:
    """Return the site that an ADNI participant's name starts with, "" for other names.

    Example:
        >>> site_of("941_S_9001"), site_of("sub-941S9001"), site_of("sub-01")
        ('941', '941', '')
    """
    found = _SITE.search(person)
    return found.group(1) if found else ""
