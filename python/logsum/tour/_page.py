"""The tour as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from logsum.tour._model import Cell, Note, Table

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c1f23; --soft: #62676d;
  --line: #e1e4e8; --band: #f6f7f9; --good: #0b6b4b; --bad: #b3261e; --link: #0a5ea8; }
@media (prefers-color-scheme: dark) { :root { --paper: #16191d; --ink: #e6e8eb; --soft: #9da2a8;
  --line: #2d3238; --band: #1d2126; --good: #5fd1a5; --bad: #ff8a80; --link: #63b3f2; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 .3rem; }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
a { color: var(--link); }
nav ol { padding-left: 1.3rem; margin: 1.2rem 0; }
section { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 2rem; }
.question, footer, figcaption, .caption { color: var(--soft); }
.question { font-size: 1.05rem; margin: 0 0 1.2rem; max-width: 46rem; }
p { max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .7rem; text-align: right; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); border-bottom-width: 2px; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
tbody tr:hover { background: var(--band); }
small { display: block; color: var(--soft); font-size: .8rem; white-space: pre-line; }
.good { color: var(--good); } .bad { color: var(--bad); } .quiet { color: var(--soft); }
.bad small { color: inherit; }
figure { margin: 1.8rem 0; } figure img { width: 100%; height: auto; display: block; }
figcaption, .caption { font-size: .92rem; max-width: 46rem; margin: .6rem 0 0; }
footer { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 1rem;
  font-size: .85rem; }
"""


@dataclass(frozen=True)
class Image:
    """A picture as drawn: PNG for light and for dark pages."""

    name: str
    caption: str
    light: bytes
    dark: bytes


@dataclass(frozen=True)
class Section:
    """A chapter as it was run."""

    name: str
    title: str
    question: str
    seconds: float
    items: Sequence[Table | Note | Image]


def page(sections: Sequence[Section], facts: str) -> str:
    """Return the page; `facts` says what ran where, in a line."""
    contents = "".join(
        f'<li><a href="#{escape(section.name)}">{escape(section.title)}</a></li>'
        for section in sections
    )
    body = "".join(_section(section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>A tour of logsum</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        "<header><h1>A tour of logsum</h1>"
        '<p class="question">Sums of exponentials on inputs that break the obvious formula, at '
        "work in a classifier, and on the clock. Every number was computed by the run that wrote "
        "this page, beside a 50-digit or float64 reference.</p>"
        f"<nav><ol>{contents}</ol></nav></header>\n"
        f"<main>\n{body}</main>\n<footer>{escape(facts)}</footer>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    items = "\n".join(_item(item) for item in section.items)
    return (
        f'<section id="{escape(section.name)}">\n<h2>{escape(section.title)}</h2>\n'
        f'<p class="question">{escape(section.question)}</p>\n{items}\n</section>\n'
    )


def _item(item: Table | Note | Image) -> str:
    if isinstance(item, Note):
        return f"<p>{escape(item.text)}</p>"
    return _table(item) if isinstance(item, Table) else _figure(item)


def _figure(image: Image) -> str:
    light, dark = (
        "data:image/png;base64," + base64.b64encode(data).decode("ascii")
        for data in (image.light, image.dark)
    )
    caption = escape(image.caption, quote=True)
    return (
        f'<figure><picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{light}" alt="{caption}"></picture><figcaption>{caption}</figcaption></figure>'
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{caption}"
    )


def _cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return f"<td>{escape(cell)}</td>"
    kind = "" if cell.tone == "plain" else f' class="{cell.tone}"'
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f"<td{kind}>{escape(cell.text)}{detail}</td>"
