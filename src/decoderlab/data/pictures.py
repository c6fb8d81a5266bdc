"""Images of files, as a network gets them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from decoderlab.common.bounded_reading import MIB, opened
from decoderlab.common.errors import Invalid
from decoderlab.data.reading import reason_of

IMAGE_BYTES = 256 * MIB
# Of an image as it says itself, before any is read: some hundreds of MB of memory, and a side that
# can be scaled.
PIXELS, SIDE = 50_000_000, 65_535
# Pillow would start another program for some others.
IMAGE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


def read_image(path: Path, width: int, height: int, *, name: str | None = None) -> np.ndarray:
    """Return (3, height, width) float32, 0 to 1; what is transparent is white.

    Args:
        path: of the file.
        width: in pixels, to which it is scaled.
        height: likewise.
        name: what a message calls it; None for the path.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ValueError("images take Pillow; run: pip install 'decoderlab[data]'") from error
    try:
        with (
            opened(path, IMAGE_BYTES) as file,
            Image.open(file, formats=IMAGE_FORMATS) as image,
        ):
            if image.width * image.height > PIXELS or max(image.size) > SIDE:
                raise OSError(
                    f"it has {image.width:,} x {image.height:,} pixels; at most {PIXELS:,} in all "
                    f"and {SIDE:,} a side can be read: make it smaller"
                )
            deep = image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG")
            with suppress(Exception):  # whatever a damaged EXIF raises: it says nothing then
                image = ImageOps.exif_transpose(image)
            if deep:  # Pillow would cut its 16 bits off at 255
                values, clear = np.asarray(image), image.info.get("transparency")
                values = np.where(values == clear, 255, values // 257)
                image = Image.fromarray(values.astype("uint8"))
            if image.mode in ("I", "F"):
                raise OSError(f"its mode is {image.mode}; save it with 8 bits a colour")
            if image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                white.alpha_composite(image.convert("RGBA"))  # in place: it may be large
                image = white
            pixels = np.asarray(image.convert("RGB").resize((width, height)), dtype=np.float32)
    except (
        *(OSError, ValueError, SyntaxError, MemoryError, Invalid),
        *(Image.DecompressionBombError, Image.DecompressionBombWarning),
    ) as error:
        reason = reason_of(error) if isinstance(error, Invalid) else error
        if isinstance(error, MemoryError):
            reason = "there is no memory for it"
        if isinstance(error.__cause__ or error, UnidentifiedImageError):
            reason = f"it is none of {', '.join(IMAGE_FORMATS)}"
        shown = str(path) if name is None else name
        raise ValueError(
            f"the image {shown!r} cannot be read ({reason}); give an image that can"
        ) from error
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) / 255)
