"""Blocks as Markdown and as a page that loads nothing."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pliant.evaluation.document import (
    INK,
    PAPER,
    Block,
    Bullets,
    Facts,
    Heading,
    Picture,
    Pictures,
    Table,
    Text,
    html,
    markdown,
)

SVG = f"""<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 width="100pt" height="50pt" viewBox="0 0 100 50">
<metadata>somebody</metadata>
<defs><path id="a" d="M 0 0"/><clipPath id="c"/></defs>
<use xlink:href="#a" style="fill: {INK}; clip-path: url(#c)"/><rect style="fill: {PAPER}"/>
</svg>
"""


@pytest.fixture
def blocks(tmp_path: Path) -> list[Block]:
    (tmp_path / "plot.svg").write_text(SVG)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "crop.png")
    plot = Picture(tmp_path / "plot.svg", 'a "plot"')
    crop = Picture(tmp_path / "crop.png", "a crop", "how <it> looks")
    return [
        Heading("Numbers & words"),
        Text("1 < 2"),
        Bullets(["one", "two"]),
        Facts({"machine": "a small one"}),
        Table(["codec", "value"], [["x|y", "+1.0"]]),
        Table(["codec", "said"], [["x", "some words"]], summary="More"),
        Pictures([plot, plot], plots=True),
        Pictures([crop, crop]),
    ]


def test_markdown(blocks: list[Block], tmp_path: Path) -> None:
    text = markdown("Title", blocks, tmp_path)
    assert text.startswith("# Title\n\n## Numbers & words\n\n1 < 2\n\n- one\n- two\n")
    assert "- machine: a small one" in text
    assert "| codec | value |\n|---|---|\n| x\\|y | +1.0 |" in text
    assert "More:\n\n| codec | said |" in text
    assert '![a "plot"](plot.svg)\n\n![a "plot"](plot.svg)' in text
    crop = "![a crop](crop.png)"
    assert f"| how <it> looks | how <it> looks |\n|---|---|\n| {crop} | {crop} |" in text


def test_page_is_well_formed_and_complete(blocks: list[Block]) -> None:
    root = ElementTree.fromstring(html("Title <1>", blocks))
    texts = "".join(root.itertext())
    for said in ("Title <1>", "Numbers & words", "1 < 2", "a small one", "x|y", "how <it> looks"):
        assert said in texts
    assert "somebody" not in texts
    assert [image.get("alt") for image in root.iter("img")] == ["a crop"] * 2
    assert all(image.get("src", "").startswith("data:image/png;") for image in root.iter("img"))


def test_drawings_take_the_colours_of_the_page_and_share_no_ids(blocks: list[Block]) -> None:
    page = html("Title", blocks)
    assert INK not in page.partition("</style>")[2]
    assert PAPER not in page.partition("</style>")[2]
    assert page.count("fill: currentColor") == 2
    root = ElementTree.fromstring(page)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids)) == 4
    for drawing in root.iter("{http://www.w3.org/2000/svg}svg"):
        own = {e.get("id") for e in drawing.iter()}
        use = next(drawing.iter("{http://www.w3.org/2000/svg}use"))
        assert str(use.get("{http://www.w3.org/1999/xlink}href")).removeprefix("#") in own
        assert str(use.get("style")).partition("url(#")[2].rstrip(")") in own
        assert drawing.get("aria-label") == 'a "plot"'
        assert drawing.get("width") is None


def test_columns_of_words_stand_left(blocks: list[Block]) -> None:
    root = ElementTree.fromstring(html("Title", blocks))
    kinds = {cell.text: cell.get("class") for cell in root.iter("td")}
    assert kinds == {"+1.0": None, "some words": "words"}
