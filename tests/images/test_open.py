"""Which files are accepted and refused, and that results contain nothing but pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from generation_worker.domain.errors import InputRejected
from generation_worker.domain.payload import Output
from generation_worker.images.tools import ImageTools

Save = Callable[..., bytes]
Load = Callable[[bytes], Image.Image]

ORIENTATION = 0x0112
GPS = 0x8825


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_without_transparency_becomes_a_jpeg(
    tools: ImageTools, save: Save, load: Load, photo: Image.Image, kind: str
) -> None:
    picture = tools.open(save(photo, kind))
    assert (picture.content_type, picture.width, picture.height) == ("image/jpeg", 200, 100)
    assert load(picture.data).format == "JPEG"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_image_with_transparency_becomes_a_png(tools: ImageTools, save: Save, load: Load, kind: str) -> None:
    picture = tools.open(save(Image.new("RGBA", (20, 10), (255, 0, 0, 100)), kind, lossless=True))
    assert picture.content_type == "image/png"
    assert load(picture.data).getpixel((5, 5)) == (255, 0, 0, 100)


def test_an_alpha_channel_that_hides_nothing_is_not_transparency(tools: ImageTools, save: Save) -> None:
    assert tools.open(save(Image.new("RGBA", (20, 10), "red"), "PNG")).content_type == "image/jpeg"


def test_a_bomb_is_refused_by_its_header(bomb: bytes) -> None:
    """Decoded it would be refused for another reason: it would fill nine times this memory."""
    assert len(bomb) < 120_000
    tools = ImageTools(1, memory=100 * 1024 * 1024)
    try:
        with pytest.raises(InputRejected, match="the image has more than the 50 megapixels allowed"):
            tools.open(bomb)
    finally:
        tools.close()


def test_one_pixel_too_many_is_refused_and_the_last_allowed_one_is_not(save: Save) -> None:
    tools = ImageTools(1, max_pixels=100)
    try:
        for kind in ("PNG", "JPEG", "WEBP"):
            assert tools.open(save(Image.new("RGB", (10, 10)), kind)).width == 10
            with pytest.raises(InputRejected, match=r"more than the 0\.0001 megapixels"):
                tools.open(save(Image.new("RGB", (101, 1)), kind))
    finally:
        tools.close()


def test_a_file_that_is_too_long_is_refused_before_anything_is_started() -> None:
    with pytest.raises(InputRejected, match=r"2\.0 MB, more than the 1 MB allowed"):
        ImageTools(1, max_bytes=1024 * 1024).open(bytes(2 * 1024 * 1024))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.1])
def test_a_truncated_file_is_refused(tools: ImageTools, save: Save, kind: str, kept: float) -> None:
    whole = save(Image.effect_noise((200, 100), 80), kind)
    with pytest.raises(InputRejected, match=kind):
        tools.open(whole[: int(len(whole) * kept)])


@pytest.mark.parametrize("missing", [1, 12])
def test_a_png_without_its_end_is_refused(tools: ImageTools, save: Save, photo: Image.Image, missing: int) -> None:
    with pytest.raises(InputRejected, match="its end is missing"):
        tools.open(save(photo, "PNG")[:-missing])


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "an empty file"),
        (b"<!doctype html><p>502 Bad Gateway", "HTML or SVG"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "HTML or SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x20ftypheic", "HEIC or AVIF"),
        (b"hello", "this kind of file"),
        (b"\x89PNG\r\n\x1a\n but then text", "the PNG file is damaged"),
        (b"\xff\xd8\xff but then text", "the JPEG file is damaged"),
        (b"RIFF\x10\0\0\0WEBP but then text", "the WEBP file is damaged"),
    ],
)
def test_what_is_not_an_image_is_refused_by_name(tools: ImageTools, data: bytes, named: str) -> None:
    with pytest.raises(InputRejected, match=named) as refusal:
        tools.open(data)
    assert "damaged" in named or "send PNG, JPEG or WEBP" in refusal.value.message


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused_even_though_pillow_knows_them(
    tools: ImageTools, save: Save, photo: Image.Image, kind: str
) -> None:
    with pytest.raises(InputRejected, match="is not accepted: send PNG, JPEG or WEBP"):
        tools.open(save(photo, kind))


def test_a_phone_s_jpeg_with_several_pictures_is_a_jpeg(tools: ImageTools, save: Save, photo: Image.Image) -> None:
    data = save(photo, "MPO", save_all=True, append_images=[photo])
    assert tools.render(data, Output(format="original")).image.content_type == "image/jpeg"


@pytest.mark.parametrize("wanted", ["png", "jpeg", "webp", "original"])
def test_a_polyglot_comes_out_clean(tools: ImageTools, save: Save, photo: Image.Image, wanted: Any) -> None:
    script = b"<script>alert(1)</script>"
    info = PngInfo()
    info.add_text("Comment", script.decode(), zip=False)
    data = save(photo, "PNG", pnginfo=info) + b"<html>" + script
    rendered = tools.render(data, Output(format=wanted))
    assert rendered.thumbnail is not None
    assert script in data
    assert b"script" not in rendered.image.data + rendered.thumbnail.data


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("wanted", ["original", "png", "jpeg", "webp"])
def test_nothing_but_pixels_comes_out(
    tools: ImageTools, save: Save, load: Load, photo: Image.Image, kind: str, wanted: Any
) -> None:
    data = save(photo, kind, **_metadata(kind))
    assert b"Heim" in data
    rendered = tools.render(data, Output(format=wanted))
    assert rendered.thumbnail is not None
    for picture in (rendered.image, rendered.thumbnail):
        image = load(picture.data)
        assert not dict(image.getexif())
        assert not {"exif", "xmp", "icc_profile", "comment", "Author"} & set(image.info)
        assert b"Heim" not in picture.data


def _metadata(kind: str) -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x010E] = "Heim"
    exif[GPS] = {1: "N", 2: (48.0, 8.0, 14.0)}
    settings: dict[str, Any] = {"exif": exif.tobytes(), "xmp": b"<x:xmpmeta>Heim</x:xmpmeta>"}
    settings["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # pyright: ignore
    if kind == "JPEG":
        settings["comment"] = "Heim"
    if kind == "PNG":
        settings["pnginfo"] = PngInfo()
        settings["pnginfo"].add_text("Author", "Heim")
    return settings


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_camera_s_orientation_is_applied(
    tools: ImageTools, save: Save, load: Load, photo: Image.Image, kind: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = tools.open(save(photo, kind, exif=exif.tobytes()))
    assert (picture.width, picture.height) == ((200, 100) if orientation < 5 else (100, 200))
    image = load(picture.data)
    corner = image.getpixel((5, 5))
    assert isinstance(corner, tuple)
    red_first = corner[0] > corner[2]
    assert red_first == (orientation in (1, 4, 5, 6))
    assert image.getexif().get(ORIENTATION) is None


def test_broken_exif_is_no_reason_to_refuse(tools: ImageTools, save: Save, photo: Image.Image) -> None:
    orientation_in_letters = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\2\0\0\0\3up\0\0\0\0\0\0"
    for exif in (b"Exif\0\0MM\0*\xff\xff\xff\xff garbage", orientation_in_letters):
        assert tools.open(save(photo, "JPEG", exif=exif)).width == 200


def test_of_an_animation_the_first_frame_counts(tools: ImageTools, save: Save, load: Load) -> None:
    frames = [Image.new("RGB", (20, 10), color) for color in ("red", "blue")]
    data = save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    picture = load(tools.render(data, Output(format="png")).image.data)
    assert picture.getpixel((5, 5)) == (255, 0, 0)
