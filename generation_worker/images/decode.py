"""Decodes untrusted image files to upright pixels in 8-bit sRGB (L, RGB or RGBA), without metadata."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageCms, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin

PLUGINS = (PngImagePlugin, JpegImagePlugin, MpoImagePlugin, WebPImagePlugin)
"""Imported here because a confined process cannot read files."""

Size = tuple[int, int]
PNG_END = b"IEND\xaeB`\x82"
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ROTATED = (5, 6, 7, 8)
"""Orientations that swap width and height."""
OTHER_KINDS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"<": "HTML or SVG",
}


SRGB = ImageCms.ImageCmsProfile(
    ImageCms.createProfile("sRGB")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
)
SIXTEEN_TO_EIGHT = 1 / 257


class ImageRefused(Exception):
    """The file is not a usable image; the message says why."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """``size`` is the upright size of the file's image; ``image`` is smaller if the decoder shrank it."""

    image: Image.Image
    format: str
    size: Size


def forbid_bombs(max_pixels: int) -> None:
    """Make Pillow refuse larger images when it reads their header. Called once, before the first image."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def decode(data: memoryview, max_pixels: int, shrink: Callable[[Size], Size] | None = None) -> Decoded:
    """Decode the image in ``data``; of an animation, the first frame.

    ``shrink`` maps the image's upright size to the size that the caller needs: a JPEG is then decoded at a half, a
    quarter or an eighth of its size, which is several times as fast. Raises ImageRefused.
    """
    kind = _kind(bytes(data[:32]))
    try:
        return _decode(BytesIO(data), kind, shrink)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageRefused(f"the image has more than the {max_pixels / 1e6:g} megapixels allowed") from None
    except Image.UnidentifiedImageError:
        raise ImageRefused(f"the {kind} file is damaged at its beginning") from None
    except (ImageRefused, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a hostile file can make a parser raise anything
        raise ImageRefused(f"the {kind} file is damaged or incomplete: {error}") from None


def _decode(file: BytesIO, kind: str, shrink: Callable[[Size], Size] | None) -> Decoded:
    with Image.open(file, formats=[kind]) as image:
        orientation = _orientation(image)
        upright = _turned(image.size, orientation)
        if shrink is not None:
            width, height = _turned(shrink(upright), orientation)
            image.draft(None, (width * 3 // 2, height * 3 // 2))  # larger than needed: the better filter does the rest
        image.load()
        if kind == "PNG" and PNG_END not in file.getvalue():
            raise ImageRefused("the PNG file is incomplete: its end is missing")  # Pillow ignores that
        pixels = plain(image)
    if orientation in UPRIGHT:
        pixels = pixels.transpose(UPRIGHT[orientation])
    pixels.info.clear()
    return Decoded(pixels, kind, upright)


def _kind(start: bytes) -> str:
    """The format by the first bytes; a file name or a declared type proves nothing."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WEBP"
    other = "HEIC or AVIF" if start[4:8] == b"ftyp" else _other_kind(start)
    raise ImageRefused(f"{other} is not accepted: send PNG, JPEG or WEBP")


def _other_kind(start: bytes) -> str:
    if not start:
        return "an empty file"
    return next((name for magic, name in OTHER_KINDS.items() if start.lstrip().startswith(magic)), "this kind of file")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - broken metadata is no reason to refuse valid pixels
        return 1


def _turned(size: Size, orientation: int) -> Size:
    return (size[1], size[0]) if orientation in ROTATED else size


def plain(image: Image.Image) -> Image.Image:
    """Convert pixels of any mode and profile to L, RGB or RGBA in sRGB. An opaque alpha channel is dropped."""
    profile = image.info.get("icc_profile")
    pixels = image if image.mode == "CMYK" else _eight_bits(image)
    if profile:
        pixels = _in_srgb(pixels, profile)
    pixels = _eight_bits(pixels)
    return pixels.convert("RGB") if _opaque(pixels) else pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion clips everything above 255 to white.
        wide = image.convert("I")
        return wide.point(lambda value: value * SIXTEEN_TO_EIGHT).convert("L")  # pyright: ignore[reportUnknownMemberType]
    wanted = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return image
        colors = image.convert("RGB") if image.mode == "RGBA" else image
        converted = ImageCms.profileToProfile(colors, source, SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # the profile is broken or for other channels: use the values unconverted
    if converted is None:
        return image
    if image.mode == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted


def _opaque(image: Image.Image) -> bool:
    return image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)
