"""Makes `src/pliant/evaluation/published.json` from collected result files of papers.

    python benchmarks/published.py ../shared/anchors

The folder holds `rd_curves.json` ({test set: {name: {bpp, psnr, ms_ssim, source, caveat, kind}}})
and `msinn_rd.json` (points of MSINN's repository). Only the curves named in `SYSTEMS` are taken;
their numbers are rounded, never changed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.evaluation import published

OUT = Path(published.__file__).with_name("published.json")
DECIMALS = {"bpp": 5, "psnr": 4, "ms_ssim": 6}
PROTOCOLS = {
    "classical": "mean over the images at constant quality setting",
    "learned-fixed": "one model per point; mean over the images at constant lambda",
    "variable-rate": "one model for all points; mean over the images at constant rate setting",
    "iterative": "latents optimised per image; mean over the images at constant lambda",
    "overfitted": "one network fitted per image; mean over the images at constant lambda",
}


@dataclass(frozen=True)
class System:
    """What a curve is called in plots, who published the method, and when."""

    label: str
    paper: str
    year: int


_JVET = "JVET reference software"
_BALLE = "Balle et al., ICLR 2018"
_MINNEN = "Minnen, Balle, Toderici, NeurIPS 2018"
_CHENG = "Cheng et al., CVPR 2020"
_KAMISLI = "Kamisli, Racape, Choi, DCC 2024"
_MSINN = "Tu et al., IEEE TMM 2025, arXiv 2503.21284"
_TONG = "Tong et al., 2023"
_LIU = "Liu, Sun, Katto, CVPR 2023"
_WANG = "Wang et al., ICLR 2023"
_ORANGE = "Orange, Cool-Chic software"
_METRIC_SUFFIX = re.compile(r"-(mse|ms-?ssim)$")

# By the name of the curve without the metric that the model was trained for.
SYSTEMS = {
    "VTM-18.0": System("VTM 18.0 (VVC intra)", _JVET, 2020),
    "VTM-12.1-fullchain": System("VTM 12.1, truncating", _JVET, 2020),
    "VTM-12.1-TCM": System("VTM 12.1 (TCM authors)", _JVET, 2020),
    "VTM-9.1": System("VTM 9.1", _JVET, 2020),
    "HM-16.20+SCM-8.8": System("HM 16.20 SCM (HEVC intra)", "JCT-VC reference software", 2016),
    "BPG-0.9.8-444-x265": System("BPG 4:4:4", "Bellard, BPG 0.9.8", 2014),
    "AV1-libaom": System("AV1 (libaom)", "AOMedia reference software", 2018),
    "JPEG": System("JPEG 4:2:0", "Pillow", 1992),
    "JPEG2000": System("JPEG 2000", "OpenJPEG", 2000),
    "WebP": System("WebP", "libwebp", 2010),
    "compressai-bmshj2018-factorized": System("factorised prior (CompressAI)", _BALLE, 2018),
    "compressai-bmshj2018-hyperprior": System("hyperprior (CompressAI)", _BALLE, 2018),
    "compressai-mbt2018-mean": System("mean-scale hyperprior (CompressAI)", _MINNEN, 2018),
    "compressai-mbt2018": System("joint autoregressive (CompressAI)", _MINNEN, 2018),
    "compressai-cheng2020-anchor": System("Cheng 2020 anchor (CompressAI)", _CHENG, 2020),
    "compressai-cheng2020-attn": System("Cheng 2020 attention (CompressAI)", _CHENG, 2020),
    "kamisli2024-bmshj2018-hyperprior-vbr": System("Kamisli 2024 hyperprior", _KAMISLI, 2024),
    "kamisli2024-mbt2018-mean-vbr": System("Kamisli 2024 mean-scale", _KAMISLI, 2024),
    "kamisli2024-mbt2018-vbr": System("Kamisli 2024 autoregressive", _KAMISLI, 2024),
    "paper-mbt2018-mean": System("mean-scale hyperprior (paper)", _MINNEN, 2018),
    "paper-mbt2018": System("joint autoregressive (paper)", _MINNEN, 2018),
    "MSINN-8": System("MSINN, 8 anchors", _MSINN, 2025),
    "MSINN-12": System("MSINN, 12 anchors", _MSINN, 2025),
    "QARV-base": System("QARV", "Duan et al., IEEE TPAMI 2023", 2023),
    "QVRF-hyperprior": System("QVRF hyperprior", _TONG, 2023),
    "QVRF-mbt2018": System("QVRF autoregressive", _TONG, 2023),
    "QVRF-cheng2020-attn": System("QVRF Cheng 2020", _TONG, 2023),
    "SCR-mean-scale": System("SCR mean-scale", "Lee, Jeong, Kim, NeurIPS 2022", 2022),
    "Song2021-Qmap": System("Song 2021, quality maps", "Song, Choi, Han, ICCV 2021", 2021),
    "InvCompress": System("InvCompress", "Xie, Cheng, Chen, ACM MM 2021", 2021),
    "paper-elic2022": System("ELIC", "He et al., CVPR 2022", 2022),
    "STF": System("STF", "Zou et al., CVPR 2022", 2022),
    "TCM-small": System("TCM small", _LIU, 2023),
    "TCM-middle": System("TCM middle", _LIU, 2023),
    "TCM-large": System("TCM large", _LIU, 2023),
    "MLIC": System("MLIC", "Jiang et al., 2023", 2023),
    "MLIC+": System("MLIC+", "Jiang et al., 2023", 2023),
    "MLIC++": System("MLIC++", "Jiang et al., 2023", 2023),
    "FTIC": System("FTIC", "Li et al., ICLR 2024", 2024),
    "LALIC": System("LALIC", "Feng et al., CVPR 2025", 2025),
    "DCAE": System("DCAE", "Lu et al., CVPR 2025", 2025),
    "HPCM-Base": System("HPCM base", "Li et al., ICCV 2025", 2025),
    "HPCM-Large": System("HPCM large", "Li et al., ICCV 2025", 2025),
    "EVC-EncS_DecS": System("EVC small", _WANG, 2023),
    "EVC-EncM_DecM": System("EVC medium", _WANG, 2023),
    "EVC-EncL_DecL": System("EVC large", _WANG, 2023),
    "Cool-chic-3.4": System("Cool-chic 3.4", _ORANGE, 2024),
    "Cool-chic-5.0": System("Cool-chic 5.0", _ORANGE, 2026),
    "Yang2020-SGA": System("mean-scale + SGA", "Yang, Bamler, Mandt, NeurIPS 2020", 2020),
    "ShallowNTC-2-layer_syn": System("shallow decoder", "Yang, Mandt, ICCV 2023", 2023),
}

TEST_SETS = {
    "kodak": "Kodak, 24 images of 768x512",
    "clic2020-pro": "CLIC 2020 professional validation set, 41 images",
    "tecnick": "Tecnick",
    "clic2022-test": "CLIC 2022 test set",
    "clic2020-pro-compressai": "CompressAI's own CLIC professional folder: other images than the "
    "validation set, about 2 dB easier; compare only inside this set",
    "clic2020-mobile-compressai": "CompressAI's own CLIC mobile folder: other images than the "
    "validation set, about 2 dB easier; compare only inside this set",
}
NOTES = [
    "PSNR is over RGB in dB, the mean of the images' own; MS-SSIM is on the 0..1 scale. Learned "
    "curves end near 38 dB and ranges differ: gaps below 1 % mean nothing.",
    "Which VTM: the VTM-9.1 and HM curves of CompressAI compare float RGB of the 8-bit YCbCr input "
    "with that of the decoded YCbCr, so the loss of the colour conversion is not counted; the "
    "truncating script that came later reads 0.5 dB lower at 37 dB and 3.5 dB lower at 46 dB for "
    "the same bytes. VTM-18.0 is a full 8-bit RGB chain with rounding: take it where the test set "
    "has it (kodak, tecnick, clic2022-test). On kodak VTM-9.1 is 0.2 % and the truncating chain "
    "7.8 % worse than VTM-18.0; on clic2020-pro only VTM-9.1 and VTM-12.1 are known, and two "
    "measurements of VTM differ by 3.2 %.",
]
MISSING = [
    "VTM-18.0 on clic2020-pro.",
    "BPG, HM, AV1 and the CompressAI models on clic2020-pro and tecnick.",
    "Kamisli's models, ELIC and EVC outside kodak.",
    "MS-SSIM of VTM-18.0, ELIC, MSINN, QARV, TCM, MLIC, MLIC+, MLIC++, EVC and Cool-chic.",
    "Per-image values of any published curve.",
    "The libaom version of AV1; the authors' own aggregate of Cool-chic (MSE averaged first).",
]


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The selected curves in the format of `published.json`."""
    sets: dict[str, dict[str, Any]] = json.loads((folder / "rd_curves.json").read_text())
    for test_set, curves in msinn(folder).items():
        sets.setdefault(test_set, {}).update(curves)
    for test_set in TEST_SETS:
        order = list(SYSTEMS)
        bases = {name: _METRIC_SUFFIX.sub("", name) for name in sets[test_set]}
        known = {name: base for name, base in bases.items() if base in SYSTEMS}
        for name in sorted(known, key=lambda name: order.index(known[name])):
            if any(sets[test_set][name][metric] for metric in ("psnr", "ms_ssim")):
                yield entry(test_set, name, SYSTEMS[known[name]], sets[test_set][name])


def entry(test_set: str, name: str, system: System, curve: dict[str, Any]) -> dict[str, Any]:
    """One curve; models trained for MS-SSIM keep only that metric."""
    trained_for = _METRIC_SUFFIX.search(name)
    for_ms_ssim = trained_for is not None and trained_for[1] != "mse"
    wanted = ("ms_ssim",) if for_ms_ssim else ("psnr", "ms_ssim")
    return {
        "name": name,
        "label": system.label + (", for MS-SSIM" if for_ms_ssim else ""),
        "test_set": test_set,
        "kind": curve["kind"],
        "year": system.year,
        "source": f"{system.paper}; figures: {curve['source']}",
        "protocol": PROTOCOLS[curve["kind"]],
        "caveat": curve["caveat"].replace("issue", "CompressAI issue"),
        "bpp": rounded("bpp", curve["bpp"]),
        "metrics": {m: rounded(m, curve[m]) for m in wanted if curve[m]},
    }


def rounded(column: str, values: list[float]) -> list[float]:
    """The numbers with as many decimals as they deserve."""
    return [round(value, DECIMALS[column]) for value in values]


def msinn(folder: Path) -> dict[str, dict[str, Any]]:
    """MSINN's points as curves per test set."""
    loaded = json.loads((folder / "msinn_rd.json").read_text())
    renamed = {"clic_pro_valid_2020": "clic2020-pro"}
    return {
        renamed.get(test_set, test_set): {
            f"MSINN-{anchors.partition('_')[0]}": {
                "bpp": [bpp for bpp, _ in points],
                "psnr": [psnr for _, psnr in points],
                "ms_ssim": None,
                "kind": "variable-rate",
                "source": "official MSINN repository, RD_data.md",
                "caveat": "bpp of real bitstreams by the released script's default mode; "
                "two-decimal PSNR, three-decimal bpp",
            }
            for anchors, points in curves.items()
        }
        for test_set, curves in loaded["sets"].items()
    }


def main() -> None:
    """Writes the data file of the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("anchors", type=Path, help="folder of the collected result files")
    curves = list(entries(parser.parse_args().anchors))
    result = {"test_sets": TEST_SETS, "notes": NOTES, "missing": MISSING, "curves": curves}
    text = json.dumps(result, indent=1)
    text = re.sub(r"\[[-+.\de,\s]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)
    OUT.write_text(text + "\n")
    print(f"{len(curves)} curves, {len(text)} bytes: {OUT}")


if __name__ == "__main__":
    main()
