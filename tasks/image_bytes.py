"""Turns encoded images into pictures, and says of what is none why."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError


def decode_picture(data: bytes, mode: str, *, draft_size: int = 0) -> tuple[Image.Image, str]:
    """Decode an image, turned as its camera was held.

    Args:
        data: any format that Pillow reads.
        mode: Pillow's, that the image is brought into, such as "RGB" or "L".
        draft_size: a JPEG that is larger than that may be decoded at a fraction of its size, which is several times faster; pixels,
            0 for not.

    Returns:
        The picture, and the mode in which it was encoded.

    Raises:
        ValueError: saying why it does not decode.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            encoded = image.mode
            if draft_size:
                image.draft(mode, (draft_size, draft_size))
            return ImageOps.exif_transpose(image).convert(mode), encoded
    except UnidentifiedImageError as error:
        raise ValueError("it is in no format that Pillow reads") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        # Pillow reports damage by many types, SyntaxError among them.
        raise ValueError(f"it does not decode ({error})") from error
