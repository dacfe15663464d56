"""Pixels of any mode and profile to sRGB with 8 bits: L, RGB or RGBA."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(
    ImageCms.createProfile("sRGB")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
)
SIXTEEN_TO_EIGHT = 1 / 257


def plain(image: Image.Image) -> Image.Image:
    """``image`` as L, RGB or RGBA in sRGB. An alpha channel that hides nothing is dropped."""
    profile = image.info.get("icc_profile")
    pixels = image if image.mode == "CMYK" else _eight_bits(image)
    if profile:
        pixels = _in_srgb(pixels, profile)
    pixels = _eight_bits(pixels)
    return pixels.convert("RGB") if _opaque(pixels) else pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion cuts everything above 255 to white.
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
        return image  # a profile that is broken or meant for other channels: take the numbers as they are
    if converted is None:
        return image
    if image.mode == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted


def _opaque(image: Image.Image) -> bool:
    return image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)
