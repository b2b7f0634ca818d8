"""``report_private.html``: what the owner of the data needs to judge with own eyes. It shows participants."""

from __future__ import annotations

from medgen.apps.evaluation.run import Evidence
from medgen.apps.report import of_number, of_trait, page, pictures
from medgen.apps.report.originality import originality_words
from medgen.apps.report.words import main_row, number

__all__ = ["private_report"]

BANNER = (
    "PRIVATE. This page shows images of participants. Do not publish it, send it or put it on a web server; "
    "report.html is the page that can be passed on."
)

NEAREST = "The generated images nearest to a training image, beside the nearest image of each of three subjects."


def private_report(evidence: Evidence) -> str:
    """The page as HTML text."""
    metrics = evidence.metrics
    scale, found = metrics["settings"]["guidance"], main_row(metrics)["originality"]
    mark = page.badge("PRIVATE")
    head = f"<header><h1>Real beside generated{mark}</h1></header>"
    parts = [head, page.notice(BANNER, "private")]
    if metrics["simulated"]:
        parts.append(page.notice("This cohort is SIMULATED: its participants do not exist.", "loud"))
    if metrics["settings"]["labels"] is None:
        tiles, names = of_number.pairs(evidence, scale, 10)
        pairs = pictures.grid(tiles, len(tiles) // 2, names, None, synthetic=metrics["simulated"])
    else:
        pairs = pictures.real_pairs(evidence, scale, 10)
    parts.append(
        page.section(
            "Real and generated",
            page.figure(pairs, f"Held-out real images, one a subject, above generated ones, guidance {scale:g}."),
        )
    )
    said = originality_words(found, metrics["memorisation"])[0]
    if found is None:
        parts.append(page.section("Nearest training images", page.paragraph(said)))
    else:
        text = (
            f"{said} Median correlation with the nearest training image: "
            f"{number(found['generated'], 3)} for generated, {number(found['held_out'], 3)} for held-out real images."
        )
        near = page.figure(pictures.neighbour_grid(evidence, scale, 10), NEAREST)
        parts.append(page.section("Nearest training images", page.paragraph(text), near))
    parts += of_trait.private_sections(evidence)
    return page.document("PRIVATE: real beside generated", parts)
