"""Formats, sizes and thumbnails of stored images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageChops

from generation_worker.domain.errors import InputRejected
from generation_worker.domain.payload import Convert, Output, Resize, Thumbnail
from generation_worker.images.tools import ImageTools
from generation_worker.ports import Picture

Save = Callable[..., bytes]
Load = Callable[[bytes], Image.Image]


def size(picture: Picture | None) -> tuple[int, int]:
    assert picture is not None
    return picture.width, picture.height


@pytest.fixture(scope="module")
def png(save: Save, photo: Image.Image) -> bytes:
    return save(photo, "PNG")


def test_the_default_is_a_webp_of_the_same_size_with_a_thumbnail(tools: ImageTools, load: Load, save: Save) -> None:
    rendered = tools.render(save(Image.new("RGB", (1000, 500)), "PNG"), Output())
    assert (rendered.image.content_type, size(rendered.image)) == ("image/webp", (1000, 500))
    assert rendered.thumbnail is not None
    assert (rendered.thumbnail.content_type, size(rendered.thumbnail)) == ("image/webp", (256, 128))
    for picture in (rendered.image, rendered.thumbnail):
        assert load(picture.data).format == "WEBP"
        assert load(picture.data).size == size(picture)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_original_keeps_the_format(tools: ImageTools, save: Save, photo: Image.Image, kind: str) -> None:
    rendered = tools.render(save(photo, kind), Output(format="original", thumbnail=None))
    assert rendered.image.content_type == f"image/{kind.lower()}"
    assert rendered.thumbnail is None


@pytest.mark.parametrize(("max_side", "expected"), [(50, (50, 25)), (200, (200, 100)), (8192, (200, 100))])
def test_max_side_only_shrinks(tools: ImageTools, png: bytes, max_side: int, expected: tuple[int, int]) -> None:
    assert size(tools.render(png, Output(max_side=max_side)).image) == expected


def test_a_thumbnail_is_never_larger_than_its_image(tools: ImageTools, png: bytes) -> None:
    assert size(tools.render(png, Output(max_side=100)).thumbnail) == (100, 50)


def test_a_thumbnail_of_a_line_keeps_one_pixel(tools: ImageTools, save: Save) -> None:
    assert size(tools.render(save(Image.new("RGB", (3000, 2)), "PNG"), Output()).thumbnail) == (256, 1)


def test_quality_is_heard(tools: ImageTools, save: Save) -> None:
    data = save(Image.effect_noise((200, 200), 80), "PNG")
    for kind in ("webp", "jpeg"):
        low, high = (tools.render(data, Output(format=kind, quality=quality)).image for quality in (10, 95))
        assert len(low.data) * 2 < len(high.data)


def test_a_jpeg_of_something_transparent_is_on_white(tools: ImageTools, save: Save, load: Load) -> None:
    data = save(Image.new("RGBA", (20, 10), (0, 0, 0, 0)), "PNG")
    assert load(tools.render(data, Output(format="jpeg")).image.data).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("wanted", ["webp", "png", "original"])
def test_transparency_is_kept_where_the_format_can(tools: ImageTools, save: Save, load: Load, wanted: Any) -> None:
    data = save(Image.new("RGBA", (20, 10), (255, 0, 0, 100)), "PNG")
    image = load(tools.render(data, Output(format=wanted)).image.data)
    assert image.getchannel("A").getextrema() == (100, 100)


def test_a_side_that_the_format_cannot_hold_is_refused_with_the_way_out(tools: ImageTools, save: Save) -> None:
    strip = save(Image.new("RGB", (20_000, 2)), "PNG")
    with pytest.raises(InputRejected, match="WEBP, whose sides have at most 16383 pixels: request a smaller size"):
        tools.render(strip, Output())
    assert size(tools.render(strip, Output(max_side=8192)).image) == (8192, 1)


@pytest.mark.parametrize(
    ("box", "fit", "expected"),
    [
        ((100, 100), "contain", (100, 50)),
        ((None, 20), "contain", (40, 20)),
        ((20, None), "contain", (20, 10)),
        ((400, 400), "contain", (200, 100)),
        ((50, 50), "cover", (50, 50)),
        ((400, 400), "cover", (400, 400)),
        ((30, 90), "fill", (30, 90)),
        ((300, 900), "fill", (300, 900)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_resize(
    tools: ImageTools, save: Save, photo: Image.Image, kind: str, box: Any, fit: Any, expected: tuple[int, int]
) -> None:
    operation = Resize(type="resize", width=box[0], height=box[1], fit=fit)
    assert size(tools.process(save(photo, kind), [operation]).image) == expected


def test_cover_cuts_both_sides_and_fill_keeps_them(tools: ImageTools, save: Save, load: Load) -> None:
    image = Image.new("RGB", (300, 100), "white")
    image.paste("red", (0, 0, 90, 100))
    image.paste("red", (210, 0, 300, 100))
    for fit, corner in (("cover", (255, 255, 255)), ("fill", (255, 0, 0))):
        operation = Resize.model_validate({"type": "resize", "width": 50, "height": 50, "fit": fit})
        assert load(tools.process(save(image, "PNG"), [operation]).image.data).getpixel((2, 25)) == corner


def test_an_enlargement_beyond_the_pixel_limit_is_refused(tools: ImageTools, png: bytes) -> None:
    with pytest.raises(InputRejected, match="resize: 8192 × 8192 pixels are more than the 50 megapixels"):
        tools.process(png, [Resize(type="resize", width=8192, height=8192, fit="fill")])


def test_operations_apply_in_their_order(tools: ImageTools, png: bytes) -> None:
    resize, thumbnail = Resize(type="resize", width=20), Thumbnail(type="thumbnail", size=64)
    assert size(tools.process(png, [resize, thumbnail]).thumbnail) == (20, 10)
    processed = tools.process(png, [thumbnail, resize])
    assert (size(processed.thumbnail), size(processed.image)) == ((64, 32), (20, 10))


def test_without_convert_the_format_stays(tools: ImageTools, save: Save, photo: Image.Image) -> None:
    thumbnail, convert = Thumbnail(type="thumbnail"), Convert(type="convert", format="png")
    for kind in ("PNG", "JPEG", "WEBP"):
        assert tools.process(save(photo, kind), [thumbnail]).image.content_type == f"image/{kind.lower()}"
        assert tools.process(save(photo, kind), [convert]).image.content_type == "image/png"


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_decoded_at_a_fraction_looks_the_same(
    tools: ImageTools, save: Save, load: Load, orientation: int
) -> None:
    large = Image.merge(
        "RGB", [Image.effect_mandelbrot((1501, 997), (-3, -2.5, 2, 2.5), quality) for quality in (9, 40, 90)]
    )
    large.paste("red", (0, 0, 700, 400))
    exif = Image.Exif()
    exif[0x0112] = orientation
    resize = [Resize(type="resize", width=400, height=300), Convert(type="convert", format="png")]
    quick, whole = (
        tools.process(save(large, kind, exif=exif.tobytes(), **settings), resize).image
        for kind, settings in (("JPEG", {"quality": 95}), ("PNG", {}))
    )
    assert size(quick) == size(whole) == ((400, 266) if orientation == 1 else (199, 300))
    difference = ImageChops.difference(load(quick.data), load(whole.data)).convert("L")
    assert sum(i * n for i, n in enumerate(difference.histogram())) / (quick.width * quick.height) < 2


def test_a_lying_jpeg_is_decoded_large_enough_for_the_upright_one(tools: ImageTools, save: Save, load: Load) -> None:
    lying = Image.effect_noise((3000, 500), 100)
    exif = Image.Exif()
    exif[0x0112] = 6
    resize = [Resize(type="resize", width=400, height=3000), Convert(type="convert", format="png")]
    whole = tools.process(save(lying, "PNG", exif=exif.tobytes()), resize).image
    quick = tools.process(save(lying, "JPEG", exif=exif.tobytes(), quality=95), resize).image
    assert size(quick) == size(whole) == (400, 2400)
    difference = ImageChops.difference(load(quick.data), load(whole.data)).convert("L")
    assert sum(i * n for i, n in enumerate(difference.histogram())) / (quick.width * quick.height) < 3
