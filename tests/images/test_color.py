"""Every mode of the three formats is converted to 8-bit sRGB."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from PIL import Image, ImageCms

from generation_worker.domain.payload import Output
from generation_worker.images.tools import ImageTools

Save = Callable[..., bytes]
Load = Callable[[bytes], Image.Image]
Pixel = tuple[int, ...]


def _png(tools: ImageTools, load: Load, data: bytes) -> Image.Image:
    return load(tools.render(data, Output(format="png", thumbnail=None)).image.data)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (4, 4), (200, 100, 50)).convert("P"), (204, 102, 51)),
        (Image.new("LA", (4, 4), (200, 100)), (200, 200, 200, 100)),
        (Image.new("L", (4, 4), 200), 200),
        (Image.new("1", (4, 4), 1), 255),
        (Image.new("I;16", (4, 4), 200 * 257), 200),
        (Image.new("RGBA", (4, 4), (1, 2, 3, 255)), (1, 2, 3)),
    ],
    ids=["palette", "grey and alpha", "grey", "one bit", "sixteen bits", "opaque alpha"],
)
def test_modes_of_png(tools: ImageTools, save: Save, load: Load, image: Image.Image, expected: int | Pixel) -> None:
    assert _png(tools, load, save(image, "PNG")).getpixel((1, 1)) == expected


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_color_becomes_alpha(tools: ImageTools, save: Save, load: Load, mode: str) -> None:
    data = save(Image.new(mode, (4, 4)), "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert _png(tools, load, data).getpixel((1, 1)) == (0, 0, 0, 0)


def test_cmyk_becomes_rgb(tools: ImageTools, save: Save, load: Load) -> None:
    red = _png(tools, load, save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).getpixel((1, 1))
    assert isinstance(red, tuple)
    assert red[0] > 240
    assert max(red[1:]) < 15


def _swapped() -> bytes:
    """sRGB's profile with the primaries of red and blue exchanged, so that applying it cannot go unnoticed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # pyright: ignore
    names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    swapped = re.sub(b"[rb]XYZ", lambda match: names[match.group()], profile)
    return swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_colors_are_converted_from_the_embedded_profile(tools: ImageTools, save: Save, load: Load) -> None:
    profile = _swapped()
    for mode, color in (("RGB", (255, 0, 0)), ("RGBA", (255, 0, 0, 100))):
        pixel = _png(tools, load, save(Image.new(mode, (4, 4), color), "PNG", icc_profile=profile)).getpixel((1, 1))
        assert isinstance(pixel, tuple)
        assert (pixel[0] < 60, pixel[2] > 200) == (True, True)
        assert pixel[3:] == color[3:]


def test_a_profile_that_is_broken_is_ignored(tools: ImageTools, save: Save, load: Load) -> None:
    data = save(Image.new("RGB", (4, 4), (255, 0, 0)), "PNG", icc_profile=b"not a profile")
    assert _png(tools, load, data).getpixel((1, 1)) == (255, 0, 0)


def test_a_profile_for_other_channels_is_ignored(tools: ImageTools, save: Save, load: Load) -> None:
    data = save(Image.new("L", (4, 4), 200), "PNG", icc_profile=_swapped())
    assert _png(tools, load, data).getpixel((1, 1)) == 200
