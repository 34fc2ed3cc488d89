"""Turns encoded images into pictures, the same for every task, and says of what is none why."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from seqrl.metrics.limits import require_regular

DEEP = 65535  # the brightest of 16 bits
# What Pillow would open as well includes programs: EPS goes to Ghostscript, which runs it.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 89_478_485  # about 9,460 x 9,460: a quarter of a GB as colours
MOST_BYTES = 256 * 2**20  # of an encoded image


def decode_picture(data: bytes, mode: str, *, draft_size: int = 0) -> Image.Image:
    """Decode an image, turned as its camera was held; of several frames the first one.

    Colours that a palette, a printer (CMYK) or 16 bits stand for become those of 8 bits a channel: x / 257 of 16. What is
    transparent lies on white, as it is shown.

    Args:
        data: PNG, JPEG, GIF, BMP, WebP, TIFF, or PPM and PGM.
        mode: Pillow's, that the image is brought into, such as "RGB" or "L".
        draft_size: a JPEG that is larger than that may be decoded at a fraction of its size, which is several times faster; pixels,
            0 for not.

    Returns:
        The picture.

    Raises:
        ValueError: saying why it does not decode.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if draft_size:
                image.draft(mode, (draft_size, draft_size))
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, at most {MOST_PIXELS} in all are decoded; make it smaller")
            return _in_8_bits(ImageOps.exif_transpose(image), image.format).convert(mode)
    except UnidentifiedImageError as error:
        raise ValueError(f"it is in none of the formats that are read ({', '.join(FORMATS)})") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow reports damage by many types, SyntaxError among them.
        raise ValueError(f"it does not decode ({error})") from error


def read_encoded(path: Path) -> bytes:
    """Read an encoded image from a file.

    Raises:
        ValueError: when it is a folder or a pipe, or larger than any image.
    """
    size = require_regular(path).stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"it has {size} bytes, at most {MOST_BYTES} are read")
    return path.read_bytes()


def grey_levels(numbers: np.ndarray) -> np.ndarray:
    """Bring grey levels into 8 bits: numbers from 0 to 255 as they are, whole ones up to 65535 divided by 257, real ones up to 1 times 255.

    Args:
        numbers: of all pixels that belong together, so that they are brought there alike.

    Returns:
        uint8, the same shape.

    Raises:
        ValueError: when they reach beyond that, so that one cannot know what is white.
    """
    if numbers.dtype == np.uint8:
        return numbers
    low, high = float(numbers.min()), float(numbers.max())
    real = numbers.dtype.kind == "f"
    if not 0 <= low <= high <= (255 if real else DEEP):
        raise ValueError(f"expected grey levels from 0 to 255, whole ones up to {DEEP}, or real ones up to 1, got {low:g} to {high:g}")
    scale = 255.0 if real and high <= 1 else 1 / 257 if high > 255 else 1.0
    return np.rint(numbers * scale).astype(np.uint8)


def _in_8_bits(image: Image.Image, form: str | None) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and form == "PNG"):
        return Image.fromarray(np.rint(np.asarray(image).astype(np.float64) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Image.fromarray(grey_levels(np.asarray(image)))
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image
