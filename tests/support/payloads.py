"""Payloads that SQL and Python must judge alike: what enqueue_generation lets in, a worker can read."""

from __future__ import annotations

from typing import Any

IMAGE = {"key": "inputs/cat.png"}
RESIZE = {"type": "resize", "width": 10}

VALID: list[tuple[str, dict[str, Any]]] = [
    ("text_to_image", {"prompt": "a"}),
    ("text_to_image", {"prompt": "a" * 10_000}),
    ("text_to_image", {"prompt": "ü" * 10_000}),
    ("text_to_image", {"prompt": "a {{ color }} {{thing_2}}", "inputs": {"color": "red", "thing_2": "kite"}}),
    ("text_to_image", {"prompt": "{{a}} {{a}}", "inputs": {"a": "", "unused": "x"}}),
    ("text_to_image", {"prompt": "{{2}} {{a b}} {a} {{}} {{ü}}"}),
    ("text_to_image", {"prompt": "a", "inputs": {}, "images": [IMAGE], "aspect_ratio": "16:9", "image_size": "2K"}),
    ("text_to_image", {"prompt": "a", "output": {"format": "png", "max_side": 512, "thumbnail": None}}),
    ("image_conversion", {"user_image": IMAGE, "cloth_image": {"url": "https://example.com/a.png"}}),
    ("image_conversion", {"user_image": IMAGE, "cloth_image": IMAGE, "prompt": None}),
    ("image_conversion", {"user_image": IMAGE, "cloth_image": IMAGE, "prompt": "{{kept}}", "options": {"style": "x"}}),
    ("image_processing", {"image": IMAGE, "operations": [RESIZE]}),
]

# Kind, payload, what both must name.
INVALID: list[tuple[str, Any, str]] = [
    ("video", {"prompt": "a"}, "kind"),
    ("", {"prompt": "a"}, "kind"),
    ("text_to_image", [], "payload"),
    ("text_to_image", "a", "payload"),
    ("text_to_image", None, "payload"),
    ("text_to_image", {}, "prompt"),
    ("text_to_image", {"prompt": None}, "prompt"),
    ("text_to_image", {"prompt": 5}, "prompt"),
    ("text_to_image", {"prompt": ["a"]}, "prompt"),
    ("text_to_image", {"prompt": ""}, "prompt"),
    ("text_to_image", {"prompt": "a" * 10_001}, "prompt"),
    ("text_to_image", {"prompt": "a", "promt": "b"}, "promt: unknown field"),
    ("text_to_image", {"prompt": "a", "user_image": IMAGE}, "user_image: unknown field"),
    ("text_to_image", {"prompt": "a", "inputs": None}, "inputs"),
    ("text_to_image", {"prompt": "a", "inputs": "color"}, "inputs"),
    ("text_to_image", {"prompt": "a", "inputs": ["color"]}, "inputs"),
    ("text_to_image", {"prompt": "a {{color}} kite"}, "no input for {{color}}: add color to inputs"),
    ("text_to_image", {"prompt": "a {{ color }}", "inputs": {"Color": "red"}}, "no input for {{color}}"),
    ("image_conversion", {"user_image": IMAGE}, "cloth_image: Field required"),
    ("image_conversion", {"cloth_image": IMAGE}, "user_image: Field required"),
    ("image_conversion", {"user_image": IMAGE, "cloth_image": IMAGE, "prompt": ""}, "prompt"),
    ("image_conversion", {"user_image": IMAGE, "cloth_image": IMAGE, "prompt": 1}, "prompt"),
    ("image_conversion", {"user_image": IMAGE, "cloth_image": IMAGE, "inputs": {}}, "inputs: unknown field"),
    ("image_processing", {"image": IMAGE}, "operations: Field required"),
    ("image_processing", {"operations": [RESIZE]}, "image: Field required"),
    ("image_processing", {"image": IMAGE, "operations": [RESIZE], "prompt": "a"}, "prompt: unknown field"),
]
