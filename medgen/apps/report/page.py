"""The page: one template, its style, and the few building blocks that reports are put together from."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from string import Template

__all__ = [
    "badge", "card", "document", "figure", "gallery", "notice", "paragraph", "section", "table", "text", "warning_box",
]  # fmt: skip

_STYLE = """
:root { --ink: #26323a; --soft: #5d6b73; --line: #dde4e8; --paper: #ffffff; --ground: #f4f7f8;
        --good: #2c7a4b; --warn: #a86a00; --bad: #b3362b; --accent: #1f6f8b; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px; }
header h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; }
header p { margin: 0; color: var(--soft); }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 20px 24px;
          margin-top: 20px; }
h2 { font-size: 20px; margin: 0 0 8px; }
p { margin: 8px 0; max-width: 78ch; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 14px; margin-top: 20px; }
.card { background: var(--paper); border: 1px solid var(--line); border-top: 4px solid var(--soft); border-radius: 12px;
        padding: 14px 16px; }
.card .question { font-size: 14px; color: var(--soft); }
.card .value { font-size: 26px; font-weight: 650; font-variant-numeric: tabular-nums; margin: 2px 0; }
.card .interval { font-size: 13px; color: var(--soft); font-variant-numeric: tabular-nums; }
.card .words { font-size: 14px; margin: 8px 0 0; }
.good { border-top-color: var(--good); } .warn { border-top-color: var(--warn); } .bad { border-top-color: var(--bad); }
.mark { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 7px;
        background: var(--line); }
.mark.good { background: var(--good); } .mark.warn { background: var(--warn); } .mark.bad { background: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
th, td { text-align: left; padding: 8px 12px 8px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: 13px; }
td { font-variant-numeric: tabular-nums; }
figure { margin: 12px 0 0; } figure img { max-width: 100%; height: auto; border-radius: 6px; }
figcaption { color: var(--soft); font-size: 14px; margin-top: 4px; max-width: 90ch; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 4px 16px; }
.notice { border-radius: 12px; padding: 12px 18px; margin-top: 16px; background: #eef4f7; border: 1px solid #cfdfe6; }
.notice.loud { background: #fff1d6; border: 2px solid #e0a030; font-weight: 600; }
.notice.warnings { background: #fbe9e7; border: 2px solid var(--bad); } .notice.warnings b { color: var(--bad); }
.notice.private { background: #b3362b; border: 0; color: white; font-weight: 650; }
.badge { display: inline-block; font-size: 12px; font-weight: 700; letter-spacing: .06em; border-radius: 6px;
         padding: 2px 8px; background: #e0a030; color: #2b1d00; vertical-align: middle; margin-left: 10px; }
ul { margin: 6px 0; padding-left: 22px; } li { margin: 4px 0; max-width: 82ch; }
details summary { cursor: pointer; color: var(--accent); } pre { overflow-x: auto; font-size: 12.5px; }
code { font-size: 90%; word-break: break-all; }
@media print { body { background: white; } section, .card { break-inside: avoid; } }
"""

# The policy forbids the browser to load anything at all: the page can be passed on and opened without a network.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>$style</style>
</head>
<body><main>
$body
</main></body>
</html>
""")


def document(title: str, parts: Sequence[str]) -> str:
    """A whole page from finished parts; ``title`` is escaped here."""
    return _PAGE.substitute(title=escape(title), style=_STYLE, body="\n".join(parts))


def section(title: str, *parts: str) -> str:
    """A titled section of finished parts."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def notice(text: str, kind: str = "") -> str:
    """A box of plain text; ``kind`` is "", "loud" or "private"."""
    return f'<div class="notice {escape(kind)}" role="note">{escape(text)}</div>'


def text(plain: str) -> str:
    """Plain text as HTML."""
    return escape(plain)


def warning_box(title: str, items: Sequence[str]) -> str:
    """A box that says what is wrong, one plain text an item."""
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<div class="notice warnings" role="alert"><b>{escape(title)}</b><ul>{lines}</ul></div>'


def badge(text: str) -> str:
    """A small label beside a heading."""
    return f'<span class="badge">{escape(text)}</span>'


def card(question: str, value: str, interval: str, words: str, mark: str) -> str:
    """One headline figure: the question, its figure, the interval, and what it means."""
    return (
        f'<div class="card {escape(mark)}"><div class="question">{escape(question)}</div>'
        f'<div class="value">{escape(value)}</div><div class="interval">{escape(interval)}</div>'
        f'<p class="words">{escape(words)}</p></div>'
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], marks: Sequence[str] | None = None) -> str:
    """A table of plain texts; ``marks`` puts a coloured dot before the last cell of each row."""
    lines = []
    for index, row in enumerate(rows):
        cells = [escape(cell) for cell in row]
        if marks is not None:
            dot = f'<span class="mark {escape(marks[index])}"></span>' if marks[index] else ""
            cells[-1] = dot + cells[-1]
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def figure(png: bytes, caption: str, width: int | None = None) -> str:
    """A picture held in the page itself, with its caption (also its alternative text)."""
    text, data = escape(caption, quote=True), base64.b64encode(png).decode()
    size = f' style="width:{width}px"' if width else ""
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}"{size}><figcaption>{text}</figcaption></figure>'
    )


def gallery(figures: Sequence[str]) -> str:
    """Finished figures side by side, as many in a row as fit."""
    return f'<div class="gallery">{"".join(figures)}</div>'
