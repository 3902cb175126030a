"""Rows of codecs that exist only as formulas."""

from __future__ import annotations

from collections.abc import Sequence

from pliant.evaluation.table import Row

QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0)


def rows(
    codec: str, image: str, factor: float, qualities: Sequence[float] = QUALITIES
) -> list[Row]:
    """A codec that gains 6 dB per doubling of the rate and needs `factor` times the bits.

    At factor 1: 0.1 bpp, 30 dB at quality 1; 1.6 bpp, 54 dB at quality 5.
    """
    return [
        Row(
            codec=codec,
            version="1",
            image=image,
            digest=image,
            quality=q,
            width=1000,
            height=1000,
            bytes=round(factor * 12500 * 2 ** (q - 1)),
            metrics={
                "psnr": 24 + 6 * q,
                "ms_ssim": 1 - 0.1 / 2**q,
                "lpips_squeeze": 0.6 - 0.1 * q,
            },
            encode_seconds=0.2 * factor,
            decode_seconds=0.1 * factor,
            peak_memory=100 * factor,
        )
        for q in qualities
    ]
