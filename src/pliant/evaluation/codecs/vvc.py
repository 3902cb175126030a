"""VVC (H.266) intra: libvvenc and the decoder of the ffmpeg that imageio-ffmpeg brings.

A picture with even sides of at least 16 gives a plain H.266 byte stream that describes its colours.
Any other is padded by repeating its last row and column, and its width and height (16 bits each,
little-endian) stand in front of the stream, which itself starts with two zero bytes.
"""

from __future__ import annotations

import re
import struct
import subprocess
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from pliant.errors import DamagedError, LimitError, MissingError, PliantError
from pliant.evaluation.codecs.base import Coder, Family, Option, Request, needs_package
from pliant.evaluation.metrics import Pixels

_Plane = npt.NDArray[np.float64]

MAX_QP = 63
_MIN_QP = 3  # vvenc refuses pictures below
_MIN_SIDE, _MAX_SIDE = 16, 65535
_PEAK, _CHROMA_ZERO = 1023, 512
_STREAM_START = b"\0\0"
# RGB in 0..1 to Y in 0..1 and Cb, Cr in -1/2..1/2: BT.601, as in JPEG, AVIF and HEIC files.
_RED, _BLUE = 0.299, 0.114
_GREEN = 1 - _RED - _BLUE
_TO_YCBCR = np.array(
    [
        [_RED, _GREEN, _BLUE],
        [-_RED / (2 - 2 * _BLUE), -_GREEN / (2 - 2 * _BLUE), 0.5],
        [0.5, -_GREEN / (2 - 2 * _RED), -_BLUE / (2 - 2 * _RED)],
    ]
)
_COLOUR_TAGS = (
    "setparams=range=pc:colorspace=smpte170m:color_primaries=bt709:color_trc=iec61966-2-1"
)


def to_planes(pixels: Pixels) -> bytes:
    """RGB with even sides to planar 10 bit YCbCr 4:2:0: full range, rounded, chroma 2x2 means."""
    height, width = pixels.shape[:2]
    ycbcr = (pixels / 255.0) @ _TO_YCBCR.T
    chroma = ycbcr[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean((1, 3))
    planes = (ycbcr[..., 0], *np.moveaxis(chroma, 2, 0))
    zeros = (0, _CHROMA_ZERO, _CHROMA_ZERO)
    return b"".join(
        np.clip(np.rint(plane * _PEAK + zero), 0, _PEAK).astype("<u2").tobytes()
        for plane, zero in zip(planes, zeros, strict=True)
    )


def from_planes(data: bytes, height: int, width: int) -> Pixels:
    """Inverse of `to_planes`; chroma by bicubic interpolation."""
    samples = np.frombuffer(data, "<u2").astype(np.float64) / _PEAK
    luma, *chroma = np.split(samples, [height * width, height * width * 5 // 4])
    zero = _CHROMA_ZERO / _PEAK
    cb, cr = (_double(plane.reshape(height // 2, width // 2) - zero) for plane in chroma)
    rgb = np.stack([luma.reshape(height, width), cb, cr], axis=-1) @ np.linalg.inv(_TO_YCBCR).T
    pixels: Pixels = np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)
    return pixels


def _double(plane: _Plane) -> _Plane:
    height, width = plane.shape
    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize((2 * width, 2 * height), Image.Resampling.BICUBIC), np.float64)


def _encode(pixels: Pixels, quality: float, preset: str, threads: int) -> bytes:
    height, width = pixels.shape[:2]
    if max(height, width) > _MAX_SIDE:
        raise LimitError(f"VVC takes sides up to {_MAX_SIDE} pixels")
    padded_height, padded_width = (max(_MIN_SIDE, side + side % 2) for side in (height, width))
    padding = ((0, padded_height - height), (0, padded_width - width), (0, 0))
    padded = np.pad(pixels, padding, mode="edge")
    stream = _ffmpeg(
        [
            *("-f", "rawvideo", "-pix_fmt", "yuv420p10le"),
            *("-s", f"{padded_width}x{padded_height}", "-i", "-", "-vf", _COLOUR_TAGS),
            *("-c:v", "libvvenc", "-preset", preset, "-qp", str(MAX_QP - round(quality))),
            # Constant quantiser; no side information that only video needs.
            *("-qpa", "0", "-threads", str(threads), "-vvenc-params"),
            *("Range=full:AccessUnitDelimiter=0:HrdParametersPresent=0", "-f", "vvc", "-"),
        ],
        to_planes(padded),
    )
    return stream if padded.shape == pixels.shape else struct.pack("<HH", width, height) + stream


def _decode(data: bytes, threads: int) -> Pixels:
    plain = data.startswith(_STREAM_START)
    stream = data if plain else data[4:]
    output = ["-f", "yuv4mpegpipe", "-strict", "-1", "-"]
    video = _ffmpeg(["-threads", str(threads), "-f", "vvc", "-i", "-", *output], stream)
    head, _, planes = video.partition(b"FRAME\n")
    size = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) ", head)
    if not size:
        raise DamagedError("ffmpeg found no picture in the VVC stream")
    width, height = map(int, size.groups())
    pixels = from_planes(planes, height, width)
    if plain:
        return pixels
    width, height = struct.unpack("<HH", data[:4])
    return pixels[:height, :width]


def _ffmpeg(arguments: list[str], data: bytes) -> bytes:
    command = [_executable(), "-hide_banner", "-loglevel", "error", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise PliantError(f"ffmpeg failed: {reason}")
    return done.stdout


@cache
def _executable() -> str:
    import imageio_ffmpeg

    try:
        path: str = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MissingError("VVC needs an ffmpeg, and imageio-ffmpeg has none here") from error
    return path


def _missing() -> str | None:
    return needs_package("VVC", "imageio-ffmpeg", "imageio_ffmpeg")() or _not_built_in()


@cache
def _not_built_in() -> str | None:
    try:
        known = _ffmpeg(["-encoders"], b"") + _ffmpeg(["-decoders"], b"")
    except MissingError as error:
        return str(error)
    if b" libvvenc " not in known or b" vvc " not in known:
        return "VVC needs an ffmpeg with libvvenc: pip install 'imageio-ffmpeg>=0.8.1'"
    return None


def _vvc(request: Request) -> Coder:
    import imageio_ffmpeg

    preset, threads = request.options["preset"], request.threads
    return Coder(
        version=(
            f"imageio-ffmpeg {imageio_ffmpeg.__version__}, "
            f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}, libvvenc"
        ),
        encode=lambda pixels, quality: _encode(pixels, quality, preset, threads),
        decode=lambda data: _decode(data, threads),
        note="Times include the start of a process and the colour conversion in NumPy.",
    )


VVC = Family(
    name="vvc",
    label=lambda model, options: (
        f"VVC intra 4:2:0, vvenc preset {options['preset']} (quality = {MAX_QP} - QP)"
    ),
    colour=lambda options: (
        "YCbCr (BT.601, full range) 4:2:0, 10 bit, rounded; chroma is the mean of 2x2 pixels, "
        "bicubic on the way back."
    ),
    extension="vvc",
    make=_vvc,
    missing=_missing,
    qualities=(17, 22, 27, 32, 36, 41, 46, 51),
    search=tuple(map(float, range(MAX_QP - _MIN_QP + 1))),
    options={"preset": Option("fast", ("faster", "fast", "medium", "slow", "slower"))},
    threaded=True,
)
