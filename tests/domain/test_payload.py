"""What a job may ask for; a payload that is refused names the field and the problem, and repeats no value."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.payload import (
    IMAGES_LIMIT,
    KINDS,
    PROMPT_LIMIT,
    ImageConversion,
    ImageProcessing,
    TextToImage,
    parse_payload,
)

KEY = {"key": "uploads/ada/1.png"}
WEARING = {"user_image": KEY, "cloth_image": {"url": "https://example.com/shirt.png"}}
SHRINK = {"type": "resize", "width": 100}

# A mapping is told of in Python's words.
OBJECT = "an object|valid dictionary"
ARRAY = "valid array|valid tuple"

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("text_to_image", {"prompt": "a kite"}),
    ("text_to_image", {"prompt": "a {{color}} kite", "inputs": {"color": "red", "unused": ""}}),
    ("text_to_image", {"prompt": "x" * PROMPT_LIMIT}),
    ("text_to_image", {"prompt": "a kite", "images": [KEY] * IMAGES_LIMIT}),
    ("text_to_image", {"prompt": "a kite", "aspect_ratio": "16:9", "image_size": "4K"}),
    ("text_to_image", {"prompt": "a kite", "aspect_ratio": None, "image_size": None}),
    ("text_to_image", {"prompt": "a kite", "output": {"format": "original", "thumbnail": None}}),
    ("text_to_image", {"prompt": "a kite", "output": {"quality": 1, "max_side": 8192, "thumbnail": 16}}),
    ("image_conversion", WEARING),
    ("image_conversion", {**WEARING, "prompt": "Put it on.", "options": {"fit": "loose"}}),
    ("image_processing", {"image": KEY, "operations": [SHRINK]}),
    ("image_processing", {"image": KEY, "operations": [{"type": "resize", "width": 1, "height": 1, "fit": "cover"}]}),
    ("image_processing", {"image": KEY, "operations": [{"type": "thumbnail"}, {"type": "convert", "format": "png"}]}),
    ("image_processing", {"image": KEY, "operations": [SHRINK] * 8}),
]

BAD: list[tuple[str, Any, str, str]] = [
    ("text_to_image", {}, "prompt", "Field required"),
    ("text_to_image", [], "payload", OBJECT),
    ("text_to_image", None, "payload", OBJECT),
    ("text_to_image", {"prompt": ""}, "prompt", "at least 1 character"),
    ("text_to_image", {"prompt": "x" * (PROMPT_LIMIT + 1)}, "prompt", "at most 10000 characters"),
    ("text_to_image", {"prompt": 5}, "prompt", "valid string"),
    ("text_to_image", {"prompt": None}, "prompt", "valid string"),
    ("text_to_image", {"prompt": "a", "promt": "b"}, "promt", "unknown field"),
    ("text_to_image", {"prompt": "{{color}} {{sea}}"}, "payload", "no input for {{color}}, {{sea}}"),
    ("text_to_image", {"prompt": "{{a}}", "inputs": {"a": 5}}, "inputs.a", "valid string"),
    ("text_to_image", {"prompt": "{{a}}", "inputs": {"a": "x" * 10_001}}, "inputs.a", "at most 10000 characters"),
    ("text_to_image", {"prompt": "{{a}}{{a}}", "inputs": {"a": "x" * 6000}}, "payload", "longer than 10000 characters"),
    ("text_to_image", {"prompt": "a", "images": [KEY] * (IMAGES_LIMIT + 1)}, "images", "at most 14 items"),
    ("text_to_image", {"prompt": "a", "images": [{}]}, "images.0", "either key or url"),
    ("text_to_image", {"prompt": "a", "images": [{**KEY, "url": "https://a.org/x"}]}, "images.0", "either key or url"),
    ("text_to_image", {"prompt": "a", "images": ["x.png"]}, "images.0", OBJECT),
    ("text_to_image", {"prompt": "a", "images": "x.png"}, "images", ARRAY),
    ("text_to_image", {"prompt": "a", "aspect_ratio": "16x9"}, "aspect_ratio", "pattern"),
    ("text_to_image", {"prompt": "a", "aspect_ratio": "0:1"}, "aspect_ratio", "pattern"),
    ("text_to_image", {"prompt": "a", "aspect_ratio": "1:1\n"}, "aspect_ratio", "pattern"),
    ("text_to_image", {"prompt": "a", "image_size": "8K"}, "image_size", "'4K'"),
    ("text_to_image", {"prompt": "a", "output": {"format": "gif"}}, "output.format", "'webp'"),
    ("text_to_image", {"prompt": "a", "output": {"quality": 0}}, "output.quality", "greater than or equal to 1"),
    ("text_to_image", {"prompt": "a", "output": {"quality": 82.5}}, "output.quality", "integer"),
    ("text_to_image", {"prompt": "a", "output": {"quality": "82"}}, "output.quality", "integer"),
    ("text_to_image", {"prompt": "a", "output": {"quality": True}}, "output.quality", "integer"),
    ("text_to_image", {"prompt": "a", "output": {"max_side": 8193}}, "output.max_side", "less than or equal to 8192"),
    ("text_to_image", {"prompt": "a", "output": {"thumbnail": 15}}, "output.thumbnail", "greater than or equal to 16"),
    ("image_conversion", {"user_image": KEY}, "cloth_image", "Field required"),
    ("image_conversion", {**WEARING, "prompt": ""}, "prompt", "at least 1 character"),
    ("image_conversion", {**WEARING, "options": {"colour": "red"}}, "options.colour", "unknown field"),
    ("image_conversion", {**WEARING, "options": {"fit": "x" * 201}}, "options.fit", "at most 200 characters"),
    ("image_processing", {"image": KEY, "operations": []}, "operations", "at least 1 item"),
    ("image_processing", {"image": KEY, "operations": [SHRINK] * 9}, "operations", "at most 8 items"),
    ("image_processing", {"image": KEY, "operations": [{"type": "resize"}]}, "operations.0.resize", "width, height"),
    (
        "image_processing",
        {"image": KEY, "operations": [SHRINK, {**SHRINK, "fit": "fill"}]},
        "operations.1.resize",
        "needs width and height",
    ),
    ("image_processing", {"image": KEY, "operations": [{"type": "blur"}]}, "operations.0", "'resize'"),
    ("image_processing", {"image": KEY, "operations": [{**SHRINK, "width": 0}]}, "operations.0.resize.width", "1"),
    ("image_processing", {"image": KEY, "operations": [SHRINK], "prompt": "a"}, "prompt", "unknown field"),
    ("text_to_video", {}, "kind", "text_to_image, image_conversion, image_processing"),
    ("", {}, "kind", "is not one of"),
]

KEYS_OUTSIDE = ["/etc/passwd", "a//b", "../a", "a/../b", "a/.", "a/", "a\\b", "a\nb", "a\0b", "a\u202eb", ".", ".."]


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "mapping"])
@pytest.mark.parametrize(("kind", "payload"), GOOD)
def test_a_good_payload_is_accepted_as_text_and_as_a_mapping(kind: str, payload: Any, as_text: bool) -> None:
    parse_payload(kind, json.dumps(payload) if as_text else payload)


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "mapping"])
@pytest.mark.parametrize(("kind", "payload", "field", "problem"), BAD)
def test_a_bad_payload_is_refused_by_field_and_problem(
    kind: str, payload: Any, field: str, problem: str, as_text: bool
) -> None:
    with pytest.raises(InvalidPayload) as caught:
        parse_payload(kind, json.dumps(payload) if as_text else payload)
    faults = dict(fault.split(": ", 1) for fault in caught.value.message.split("; "))
    assert field in faults
    assert any(words in faults[field] for words in problem.split("|"))


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidPayload) as caught:
        parse_payload("text_to_image", {"prompt": "", "image_size": "8K", "promt": 1})
    assert [fault.split(":")[0] for fault in caught.value.message.split("; ")] == ["prompt", "image_size", "promt"]


def test_a_refusal_does_not_repeat_what_a_person_wrote() -> None:
    with pytest.raises(InvalidPayload) as caught:
        parse_payload("text_to_image", {"prompt": ["my secret"], "inputs": {"a": {"b": "my secret"}}})
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "nul", "\x00", '{"prompt": "a"} x', "1e999"])
def test_text_that_is_not_json_is_refused_as_such(text: str) -> None:
    with pytest.raises(InvalidPayload, match="payload: "):
        parse_payload("text_to_image", text)


@pytest.mark.parametrize("key", KEYS_OUTSIDE)
def test_a_key_that_leads_out_of_the_storage_is_refused(key: str) -> None:
    with pytest.raises(InvalidPayload, match=r"image\.key: is not a storage key"):
        parse_payload("image_processing", {"image": {"key": key}, "operations": [SHRINK]})


VALUES = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5)


@given(VALUES, st.sampled_from(KINDS))
def test_any_value_is_accepted_or_refused_and_nothing_else(value: Any, kind: str) -> None:
    for name in ("prompt", "images", "output", "image", "operations", "user_image", "options"):
        with suppress(InvalidPayload):
            parse_payload(kind, {name: value})


@given(st.text(min_size=1, max_size=100), st.dictionaries(st.text(max_size=5), st.text(max_size=50), max_size=3))
def test_a_prompt_that_was_accepted_can_be_filled(prompt: str, inputs: dict[str, str]) -> None:
    try:
        payload = parse_payload("text_to_image", {"prompt": prompt, "inputs": inputs})
    except InvalidPayload:
        return
    assert isinstance(payload, TextToImage)
    assert len(payload.filled_prompt) <= PROMPT_LIMIT


def test_a_prompt_is_filled_with_its_inputs() -> None:
    payload = parse_payload("text_to_image", {"prompt": "a {{c}} kite", "inputs": {"c": "{{c}}"}})
    assert isinstance(payload, TextToImage)
    assert payload.filled_prompt == "a {{c}} kite"


def test_a_conversion_has_a_prompt_of_its_own_and_its_options_as_wishes() -> None:
    plain = parse_payload("image_conversion", WEARING)
    asked = parse_payload(
        "image_conversion", {**WEARING, "prompt": "Put it on.", "options": {"style": "a", "fit": "b"}}
    )
    assert isinstance(plain, ImageConversion)
    assert isinstance(asked, ImageConversion)
    assert plain.filled_prompt.startswith("Show the person")
    assert asked.filled_prompt == "Put it on. (style: a, fit: b)"


def test_the_images_of_a_payload_stand_in_the_order_of_the_prompt() -> None:
    conversion = parse_payload("image_conversion", WEARING)
    processing = parse_payload("image_processing", {"image": KEY, "operations": [SHRINK]})
    assert isinstance(conversion, ImageConversion)
    assert isinstance(processing, ImageProcessing)
    assert conversion.images == (conversion.user_image, conversion.cloth_image)
    assert processing.images == (processing.image,)


def test_an_image_is_stored_as_webp_with_a_thumbnail_unless_asked_otherwise() -> None:
    payload = parse_payload("text_to_image", {"prompt": "a kite"})
    assert isinstance(payload, TextToImage)
    assert (payload.output.format, payload.output.quality, payload.output.thumbnail) == ("webp", 82, 256)
