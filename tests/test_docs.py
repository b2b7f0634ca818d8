"""What the documentation lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import medgen.transforms

DOCS = Path(__file__).parent.parent / "docs"


def test_the_table_of_transforms_lists_every_transform_once():
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "transforms.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(rows) == sorted({name.removesuffix("d") for name in medgen.transforms.__all__})


def test_links_between_pages_lead_somewhere():
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md", *DOCS.parent.glob("bundles/*/docs/README.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken
