"""A small document of headings, text, tables and pictures, as Markdown and as one HTML page."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeAlias

# Plots are drawn in these two colours, which a page replaces by those of its reader.
INK, PAPER = "#222222", "#fffffe"

_STYLE = Path(__file__).with_name("document.css")
_WORDS = re.compile(r"[^\W\d_]{2}.* ")
_MIME = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True)
class Heading:
    """A heading of the second or a lower level; the title of the document is the first."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of short sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names and what they stand for, both in words."""

    facts: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first column names the line.

    Attributes:
        summary: where it is not empty, a page shows the table only when this line is opened.
    """

    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    summary: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture file; `alt` says in words what it shows."""

    path: Path
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side; `plots` are stacked where there is no room, others shrink."""

    pictures: Sequence[Picture]
    plots: bool = False


Block: TypeAlias = Heading | Text | Bullets | Facts | Table | Pictures


# --- Markdown -----------------------------------------------------------------------------------


def markdown(title: str, blocks: Sequence[Block], folder: Path) -> str:
    """The document with pictures as links relative to `folder`."""
    return "\n\n".join([f"# {title}", *(_block_markdown(b, folder) for b in blocks)]) + "\n"


def _block_markdown(block: Block, folder: Path) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Text():
            return block.text
        case Bullets():
            return "\n".join(f"- {item}" for item in block.items)
        case Facts():
            return "\n".join(f"- {name}: {text}" for name, text in block.facts.items())
        case Table():
            lines = [*([f"{block.summary}:", ""] if block.summary else []), _line(block.head)]
            lines.append("|---" * len(block.head) + "|")
            return "\n".join(lines + [_line(line) for line in block.lines])
        case Pictures():
            links = [_link(picture, folder) for picture in block.pictures]
            captions = [picture.caption for picture in block.pictures]
            if block.plots or len(links) == 1:
                return "\n\n".join(links)
            return "\n".join([_line(captions), "|---" * len(links) + "|", _line(links)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _link(picture: Picture, folder: Path) -> str:
    target = Path(os.path.relpath(picture.path, folder)).as_posix()
    return f"![{picture.alt}]({target})"


# --- HTML ---------------------------------------------------------------------------------------


def html(title: str, blocks: Sequence[Block]) -> str:
    """One page that carries its style and pictures and loads nothing."""
    style = _STYLE.read_text(encoding="utf-8")
    body = "\n".join(_block_html(block, number) for number, block in enumerate(blocks))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _block_html(block: Block, number: int) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
        case Text():
            return f"<p>{escape(block.text)}</p>"
        case Bullets():
            items = "".join(f"<li>{escape(item)}</li>\n" for item in block.items)
            return f"<ul>\n{items}</ul>"
        case Facts():
            facts = "".join(
                f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n"
                for name, text in block.facts.items()
            )
            return f"<dl>\n{facts}</dl>"
        case Table():
            table = _table_html(block)
            if not block.summary:
                return table
            return f"<details>\n<summary>{escape(block.summary)}</summary>\n{table}\n</details>"
        case Pictures():
            figures = [
                _figure_html(picture, f"p{number}-{place}-")
                for place, picture in enumerate(block.pictures)
            ]
            kind = "plots" if block.plots else "crops"
            return f'<div class="{kind}">\n' + "\n".join(figures) + "\n</div>"


def _table_html(table: Table) -> str:
    """Figures stand right and whole, columns of words left and broken into lines."""
    kinds = [
        ' class="words"' if any(_WORDS.search(line[column]) for line in table.lines) else ""
        for column in range(1, len(table.head))
    ]
    head = f'<th scope="col">{escape(table.head[0])}</th>' + "".join(
        f'<th scope="col"{kind}>{escape(cell)}</th>'
        for kind, cell in zip(kinds, table.head[1:], strict=True)
    )
    lines = [
        f'<tr><th scope="row">{escape(line[0])}</th>'
        + "".join(f"<td{k}>{escape(cell)}</td>" for k, cell in zip(kinds, line[1:], strict=True))
        + "</tr>\n"
        for line in table.lines
    ]
    # A table that is wider than the screen scrolls by itself; the page never does.
    return (
        '<div class="wide"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(lines)}</tbody>\n</table></div>"
    )


def _figure_html(picture: Picture, prefix: str) -> str:
    if picture.path.suffix == ".svg":
        shown = _inline_svg(picture, prefix)
    else:
        data = base64.b64encode(picture.path.read_bytes()).decode()
        source = f"data:{_MIME[picture.path.suffix]};base64,{data}"
        shown = f'<img src="{source}" alt="{escape(picture.alt)}"/>'
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f"<figure>{shown}{caption}</figure>"


def _inline_svg(picture: Picture, prefix: str) -> str:
    """The drawing in the reader's colours, its ids made unique in the page by `prefix`."""
    svg = picture.path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor").replace(PAPER, "none")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(picture.alt)}"', 1)
