"""Pillow's many pixel modes → the four layouts L, LA, RGB and RGBA, with a word on each change."""

from __future__ import annotations

import io
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pliant.errors import UsageError
from pliant.metadata import icc_of, icc_space

_SIXTEEN_BITS: Final = ("I;16", "I;16L", "I;16B", "I;16N")
_PREMULTIPLIED: Final = {"La": "LA", "RGBa": "RGBA"}
_TO_RGB: Final = {"RGBX": None, "YCbCr": "YCbCr", "HSV": "HSV", "CMYK": "CMYK"}
NOTE_16_BIT: Final = "16-bit samples were reduced to 8 bits"


class Converted(NamedTuple):
    """An image of mode L, LA, RGB or RGBA, its ICC profile, and what was changed."""

    image: Image.Image
    icc: bytes | None
    notes: tuple[str, ...]


def convert(image: Image.Image) -> Converted:
    """Return the loaded image in one of the four layouts.

    Raises UsageError for modes without a sensible 8-bit meaning.
    """
    icc, mode = icc_of(image), image.mode
    notes: tuple[str, ...] = ()
    if mode in ("LA", "RGBA"):
        result = image
    elif mode in ("L", "RGB"):
        result = image.convert(mode + "A" if mode == "RGB" else "LA") if _keyed(image) else image
    elif mode in ("P", "PA"):
        result = image.convert("RGBA" if mode == "PA" or image.has_transparency_data else "RGB")
        notes = (f"the palette was expanded to {result.mode}",)
    elif mode == "1":
        result = _with_alpha(image.convert("L"), image)
        notes = ("black and white was expanded to 8-bit grey",)
    elif mode in _SIXTEEN_BITS or mode == "I":
        result, notes = _with_alpha(_grey_16(image), image), (NOTE_16_BIT,)
    elif mode in _PREMULTIPLIED:
        result, notes = _unmultiply(image), ("premultiplied alpha was converted to straight alpha",)
    elif mode == "LAB":
        result, icc, notes = _lab_to_srgb(image), None, ("LAB colours were converted to sRGB",)
    elif mode == "CMYK":
        return _cmyk(image, icc)
    elif mode in _TO_RGB:
        result = image.convert("RGB")
        notes = (f"{mode} colours were converted to RGB",)
    else:
        raise UsageError(f"images of mode {mode} are not supported; convert to 8 bits first")
    kept, extra = _fitting_profile(icc, result.mode)
    return Converted(result, kept, notes + extra)


def reduce_16_bit(samples: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return samples of 0 … 65535 scaled to 0 … 255, rounded to nearest (same shape)."""
    # Equals round(v / 257) for every v.
    return ((samples.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)


def _keyed(image: Image.Image) -> bool:
    """Whether one colour of a grey or RGB image is declared transparent (PNG's tRNS)."""
    return "transparency" in image.info


def _with_alpha(grey: Image.Image, image: Image.Image) -> Image.Image:
    """Return an image's 8-bit grey, transparent where a sample is the one so declared."""
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    # Pillow gives black and white as bool, and 255 for a key that is white.
    visible = np.asarray(image) != (bool(key) if image.mode == "1" else key)
    return Image.merge("LA", (grey, Image.fromarray(visible.astype(np.uint8) * np.uint8(255))))


def _grey_16(image: Image.Image) -> Image.Image:
    samples = np.asarray(image)
    if image.mode == "I" and (samples.min() < 0 or samples.max() > 65535):
        raise UsageError("32-bit integer images are only supported with values from 0 to 65535")
    return Image.fromarray(reduce_16_bit(samples.astype(np.uint16)))


def _unmultiply(image: Image.Image) -> Image.Image:
    if image.mode == "RGBa":
        return image.convert("RGBA")
    grey, alpha = (np.asarray(band, np.uint32) for band in image.split())
    straight = np.minimum((grey * 255 + alpha // 2) // np.maximum(alpha, 1), 255)
    bands = (Image.fromarray(plane.astype(np.uint8)) for plane in (straight, alpha))
    return Image.merge("LA", tuple(bands))


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return _translated(image, ImageCms.ImageCmsProfile(lab), ImageCms.ImageCmsProfile(srgb))


def _cmyk(image: Image.Image, icc: bytes | None) -> Converted:
    """Convert by the image's own profile where it has a usable one, else by the plain formula."""
    if icc is not None and icc_space(icc) == "CMYK":
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        try:
            result = _translated(image, ImageCms.ImageCmsProfile(io.BytesIO(icc)), srgb)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
        else:
            return Converted(result, None, ("CMYK was converted to sRGB by its ICC profile",))
    note = "CMYK without a usable ICC profile was converted to RGB by a plain formula"
    return Converted(image.convert("RGB"), None, (note,))


def _translated(
    image: Image.Image, source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile
) -> Image.Image:
    result = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    if result is None:
        raise ValueError("the colours cannot be translated")
    return result


def _fitting_profile(icc: bytes | None, mode: str) -> tuple[bytes | None, tuple[str, ...]]:
    """Drop a profile that is damaged or made for other channels than the image has."""
    if icc is None or icc_space(icc) == ("GRAY" if mode in ("L", "LA") else "RGB"):
        return icc, ()
    return None, (f"the ICC profile does not fit a {mode} image and was dropped",)
