"""The report of a run: complete, well-formed, and a page that loads nothing from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from synthetic_rows import rows

from pliant.errors import UsageError
from pliant.evaluation import codecs, report
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import digest
from pliant.evaluation.set_distances import SetDistance
from pliant.evaluation.table import Row

pytest.importorskip("bjontegaard")
pytest.importorskip("matplotlib")

ANCHOR, RIVAL, PEER = "jpeg-420", "jpeg-444", "compressai:peer"


def synthetic() -> list[Row]:
    """Two codecs on two images, and a third that was only timed."""
    timed = [replace(row, metrics={}) for row in rows(PEER, "a.png", 3.0)]
    measured = [
        row
        for codec, factors in ((ANCHOR, (1.0, 1.2)), (RIVAL, (0.7, 1.3)))
        for image, factor in zip(("a.png", "b.png"), factors, strict=True)
        for row in rows(codec, image, factor)
    ]
    return measured + timed


def one_metric() -> list[Row]:
    """The same with fewer plots to draw."""
    return [replace(row, metrics={"psnr": row.psnr}) if row.metrics else row for row in synthetic()]


def with_files(folder: Path, images: Path, photo: Pixels) -> list[Row]:
    """The same rows as if made from two photos, with kept files."""
    images.mkdir()
    pictures = {"a.png": photo, "b.png": np.ascontiguousarray(photo[::-1])}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(images / name)
    found = []
    for row in synthetic():
        if row.metrics:
            data = codecs.find(row.codec).encode(pictures[row.image], 10 * row.quality)
            data = data.ljust(row.bytes, b"\0")  # decoders stop at the end of the picture
            file = f"files/{row.codec}/{Path(row.image).stem}@{row.quality:g}.jpg"
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
            row = replace(row, file=file, digest=digest(pictures[row.image]))
        found.append(row)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Pixels]) -> Path:
    """The folder of a run with its report."""
    folder = tmp_path_factory.mktemp("run")
    table = with_files(folder, folder / "images", photos["chelsea"])
    report.write(folder, table, anchor=ANCHOR, images=folder / "images")
    return folder


@pytest.fixture
def page(run: Path) -> ElementTree.Element:
    """The page, parsed: it is well-formed, or this fails."""
    return ElementTree.fromstring((run / report.PAGE).read_text(encoding="utf-8"))


def loads(page: ElementTree.Element) -> Iterator[str]:
    """Every address that a browser would fetch."""
    for element in page.iter():
        for name, value in element.attrib.items():
            plain = name.rpartition("}")[2]
            if plain in ("src", "href", "srcset", "data", "poster", "action"):
                yield value
            yield from re.findall(r"url\(([^)]*)\)", value)
        if element.tag.endswith("style"):
            yield from re.findall(r"url\(([^)]*)\)|@import", element.text or "")
    assert not list(page.iter("script"))
    assert not list(page.iter("link"))


def test_page_loads_nothing(page: ElementTree.Element) -> None:
    found = list(loads(page))
    assert len(found) > 20
    assert [address[:80] for address in found if not address.startswith(("#", "data:"))] == []


def test_page_names_all_codecs_and_what_was_measured(page: ElementTree.Element) -> None:
    texts = " ".join(page.itertext())
    for name in (ANCHOR, RIVAL, PEER):
        assert name in texts
    for said in ("2 of images", "Python", "timing only", "BD-rate against jpeg-420", "peak memory"):
        assert said in texts
    assert page.find("body/main/h1") is not None
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_pictures_have_words(page: ElementTree.Element) -> None:
    plots = list(page.iter("{http://www.w3.org/2000/svg}svg"))
    crops = list(page.iter("img"))
    assert len(plots) == 3 * 2  # three metrics, log and linear rate
    for plot in plots:
        label = str(plot.get("aria-label"))
        assert ANCHOR in label
        assert RIVAL in label
        assert PEER not in label  # no metrics, no curve
    assert len(crops) == 2 * 3  # best and worst; original, anchor, codec
    assert all(str(crop.get("alt")).startswith("Crop of ") for crop in crops)


def test_markdown_links_to_files_that_exist(run: Path) -> None:
    text = (run / report.MARKDOWN).read_text(encoding="utf-8")
    links = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert len(links) == 3 * 2 + 2 * 3
    assert all((run / link).is_file() for link in links)
    assert "| jpeg-444 | a.png -30.0 | b.png +8.3 |" in text
    timings = text[text.index("## Time and memory") :]
    assert "| compressai:peer | 0.6 | ×2.73 | 0.3 | ×2.73 | 300 | 1 | 5 |" in timings


def test_compressai_schema(run: Path) -> None:
    files = sorted((run / report.JSON_FOLDER).iterdir())
    assert [file.name for file in files] == [f"{ANCHOR}.json", f"{RIVAL}.json"]
    loaded = json.loads(files[0].read_text())
    assert set(loaded) == {"name", "description", "results"}
    assert loaded["name"] == ANCHOR
    results = loaded["results"]
    for name in ("psnr", "psnr-rgb", "ms-ssim", "ms-ssim-rgb", "encoding_time", "decoding_time"):
        assert len(results[name]) == len(results["bpp"]) == 5
    assert results["bpp"] == pytest.approx([0.11, 0.22, 0.44, 0.88, 1.76])
    assert results["psnr-rgb"][0] == pytest.approx(30)
    assert results["encoding_time"][0] == pytest.approx(0.22)


def test_distances_have_plots_tables_and_a_place_in_the_json(tmp_path: Path) -> None:
    found = [
        SetDistance(
            codec=row.codec,
            version="1",
            quality=row.quality,
            digest="",
            name=name,
            features=f"those of {name}",
            bpp=row.bpp,
            images=2,
            patches=14,
            value=factor * (6 - row.quality),
        )
        for name, factor in (("fd_squeeze", 20.0), ("fid", 0.01))
        for row in one_metric()
        if row.metrics and row.image == "a.png"
        if name == "fid" or (row.codec, row.quality) != (RIVAL, 1)
    ]
    written = report.write(
        tmp_path, one_metric(), anchor=ANCHOR, images=tmp_path / "images", distances=found
    )
    text = written[1].read_text(encoding="utf-8")
    section = text[text.index("## Distances between sets") : text.index("## Best and worst")]
    assert "### FD-squeeze × 1000\n\n14 patches of 2 images in either set" in section
    assert "features: those of fd_squeeze." in section
    assert "| codec | quality | bpp | FD-squeeze × 1000 |" in section
    assert "| jpeg-420 | 2 | 0.2000 | 80 |" in section
    assert "| jpeg-444 | 5 | 1.1200 | 0.01 |" in section
    links = re.findall(r"!\[[^]]+\]\(([^)]+)\)", section)
    assert len(links) == 2 * 2
    assert all((tmp_path / link).is_file() for link in links)
    anchor, rival = (
        json.loads((tmp_path / report.JSON_FOLDER / f"{codec}.json").read_text())["results"]
        for codec in (ANCHOR, RIVAL)
    )
    assert anchor["fd_squeeze"] == [100, 80, 60, 40, 20]
    assert "fd_squeeze" not in rival  # a point lacks it
    assert rival["fid"] == pytest.approx([0.05, 0.04, 0.03, 0.02, 0.01])


def test_without_files_the_report_says_so(tmp_path: Path) -> None:
    written = report.write(tmp_path, one_metric(), anchor=ANCHOR, images=tmp_path / "images")
    assert [path.name for path in written[:2]] == [report.PAGE, report.MARKDOWN]
    assert all(path.is_file() for path in written)
    assert "No crops: no kept files of b.png." in written[1].read_text()


def test_names_that_are_no_text_make_a_report(tmp_path: Path) -> None:
    odd = [replace(row, image="\udcff.png") for row in one_metric() if row.codec == ANCHOR]
    page, *_ = report.write(tmp_path, odd, anchor=ANCHOR, images=tmp_path / "im\udcfe")
    assert "im\\udcfe" in " ".join(ElementTree.fromstring(page.read_text()).itertext())


def test_crops_may_be_left_out(tmp_path: Path) -> None:
    written = report.write(
        tmp_path, one_metric(), anchor=ANCHOR, images=tmp_path / "images", shown=()
    )
    text = written[1].read_text()
    assert "| jpeg-444 | a.png -30.0 | b.png +8.3 |" in text
    assert "crops" not in text.lower()


def test_images_that_a_codec_lacks_are_left_out(tmp_path: Path) -> None:
    cut_short = [r for r in one_metric() if (r.codec, r.image, r.quality) != (RIVAL, "b.png", 5.0)]
    report.write(tmp_path, cut_short, anchor=ANCHOR, images=tmp_path)
    text = (tmp_path / report.MARKDOWN).read_text()
    assert "Left out, because a codec lacks some of its rows: b.png." in text
    assert f"- images: 1 of {tmp_path.name}" in text


def test_timings_alone_make_a_report(tmp_path: Path) -> None:
    timed = [row for row in one_metric() if not row.metrics]
    page, text = report.write(tmp_path, timed, anchor=PEER, images=tmp_path)
    ElementTree.fromstring(page.read_text())
    assert "only timings" in text.read_text()
    assert f"| {PEER} | 0.6 | ×1 |" in text.read_text()


def test_one_codec_makes_a_report(tmp_path: Path) -> None:
    alone = [row for row in one_metric() if row.codec == ANCHOR]
    report.write(tmp_path, alone, anchor=ANCHOR, images=tmp_path)
    assert "BD-rate against" not in (tmp_path / report.MARKDOWN).read_text()


def test_unknown_anchor_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'webp'"):
        report.write(tmp_path, one_metric(), anchor="webp", images=tmp_path)


def test_published_curves_appear_for_a_whole_known_set(tmp_path: Path) -> None:
    kodak = [
        replace(row, width=768, height=512, bytes=row.bytes // 3, metrics={"psnr": row.psnr})
        for n in range(1, 25)
        for codec, factor in ((ANCHOR, 1.0), (RIVAL, 0.8))
        for row in rows(codec, f"kodim{n:02}.png", factor, (1.0, 2.0, 3.0))
    ]
    report.write(tmp_path, kodak, anchor=ANCHOR, images=tmp_path)
    text = (tmp_path / report.MARKDOWN).read_text()
    assert "## Against published curves" in text
    assert "VTM 18.0" in text
    assert ">VTM 18.0 (VVC intra)</text>" in (tmp_path / "plots" / "psnr-log.svg").read_text()
