"""The payloads of jobs: one model for each kind.

A payload is checked when it is enqueued from Python, and again by the worker, because other programs may insert rows
without a check.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.urls import parse_url

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
"""``{{name}}`` in a prompt is replaced by the input of that name."""

Kind = Literal["text_to_image", "image_conversion", "image_processing"]
KINDS: tuple[Kind, ...] = ("text_to_image", "image_conversion", "image_processing")

PROMPT_LIMIT = 10_000
"""Longest prompt after its placeholders are filled, in characters."""
IMAGES_LIMIT = 14
"""Most input images of one job: as many as any supported model accepts."""
SIDE_LIMIT = 8192
"""Longest side of an output, in pixels."""

Side = Annotated[int, Field(ge=1, le=SIDE_LIMIT)]
Quality = Annotated[int, Field(ge=1, le=100)]
Format = Literal["webp", "png", "jpeg"]
AspectRatio = Annotated[str, Field(pattern=r"^[1-9][0-9]?:[1-9][0-9]?$")]
ImageSize = Literal["512", "1K", "2K", "4K"]
Text = Annotated[str, Field(max_length=PROMPT_LIMIT)]


class PayloadModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ImageRef(PayloadModel):
    """An input image: ``{"key": …}`` in our storage or ``{"url": "https://…"}``."""

    key: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.key is None) == (self.url is None):
            raise ValueError("give either key or url")
        return self

    @field_validator("key")
    @classmethod
    def _inside_the_storage(cls, key: str | None) -> str | None:
        if key is not None and (
            key.startswith("/") or "\\" in key or not key.isprintable() or {"", ".", ".."} & set(key.split("/"))
        ):
            raise ValueError("is not a storage key: no leading slash, empty part, '..' or control character")
        return key

    @field_validator("url")
    @classmethod
    def _on_the_internet(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None:  # without a context, ``parse_payload`` checks it again afterwards
            parse_url(url, private=info.context is None or bool(info.context["private_urls"]))
        return url


class Output(PayloadModel):
    """How the image is stored."""

    format: Literal["webp", "png", "jpeg", "original"] = "webp"
    quality: Quality = 82
    max_side: Side | None = None
    thumbnail: Annotated[int, Field(ge=16, le=1024)] | None = 256


class TextToImage(PayloadModel):
    """An image made from a prompt, or an edit of ``images`` by a prompt."""

    prompt: Annotated[str, Field(min_length=1, max_length=PROMPT_LIMIT)]
    inputs: dict[str, Text] = Field(default_factory=dict)
    images: Annotated[tuple[ImageRef, ...], Field(max_length=IMAGES_LIMIT, strict=False)] = ()
    aspect_ratio: AspectRatio | None = None
    image_size: ImageSize | None = None
    output: Output = Output()

    @model_validator(mode="after")
    def _every_placeholder_has_an_input(self) -> Self:
        missing = [name for name in placeholders(self.prompt) if name not in self.inputs]
        if missing:
            names = ", ".join("{{" + name + "}}" for name in missing)
            raise ValueError(f"prompt has no input for {names}: add {', '.join(missing)} to inputs")
        if len(self.filled_prompt) > PROMPT_LIMIT:
            raise ValueError(f"prompt is longer than {PROMPT_LIMIT} characters once its inputs are filled in")
        return self

    @property
    def filled_prompt(self) -> str:
        return fill(self.prompt, self.inputs)


class ConversionOptions(PayloadModel):
    """How the person wears the garment; free texts that become part of the prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    style: Annotated[str, Field(max_length=200)] | None = None
    quality: Annotated[str, Field(max_length=200)] | None = None
    background: Annotated[str, Field(max_length=200)] | None = None
    pose: Annotated[str, Field(max_length=200)] | None = None
    fit: Annotated[str, Field(max_length=200)] | None = None


class ImageConversion(PayloadModel):
    """The person of ``user_image`` wearing the garment of ``cloth_image``."""

    user_image: ImageRef
    cloth_image: ImageRef
    prompt: Annotated[str, Field(min_length=1, max_length=PROMPT_LIMIT)] | None = None
    options: ConversionOptions = ConversionOptions()
    aspect_ratio: AspectRatio | None = None
    image_size: ImageSize | None = None
    output: Output = Output()

    @property
    def filled_prompt(self) -> str:
        """The caller's prompt, or ours, with the options as a last sentence."""
        prompt = self.prompt or (
            "Show the person of the first image wearing the garment of the second image. "
            "Keep the face, the body and the background of the first image."
        )
        options = self.options.model_dump(exclude_none=True)
        listed = ", ".join(f"{name}: {value}" for name, value in options.items())
        return f"{prompt} ({listed})" if listed else prompt

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return (self.user_image, self.cloth_image)


class Resize(PayloadModel):
    type: Literal["resize"]
    width: Side | None = None
    height: Side | None = None
    fit: Literal["contain", "cover", "fill"] = "contain"

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("give width, height or both")
        if self.fit != "contain" and (self.width is None or self.height is None):
            raise ValueError(f"fit {self.fit!r} needs width and height")
        return self


class Thumbnail(PayloadModel):
    type: Literal["thumbnail"]
    size: Annotated[int, Field(ge=16, le=1024)] = 256


class Convert(PayloadModel):
    type: Literal["convert"]
    format: Format
    quality: Quality = 82


Operation = Annotated[Resize | Thumbnail | Convert, Field(discriminator="type")]


class ImageProcessing(PayloadModel):
    """One image resized, thumbnailed or converted by the worker, without a provider."""

    image: ImageRef
    operations: Annotated[tuple[Operation, ...], Field(min_length=1, max_length=8, strict=False)]

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return (self.image,)


Generation = TextToImage | ImageConversion
"""The payload of a provider call."""
Payload = Generation | ImageProcessing


def parse_payload(kind: str, payload: Any, *, private_urls: bool = False) -> Payload:
    """The payload as its kind's model.

    ``payload`` is JSON text (from the database) or a mapping. With ``private_urls`` it may have URLs that only a worker
    in development fetches; each worker checks them again, by its settings.
    Raises InvalidPayload, whose message names every wrong field and its problem.
    """
    adapter = _MODELS.get(kind)
    if adapter is None:
        raise InvalidPayload(f"kind: {kind!r} is not one of {', '.join(KINDS)}")
    context = {"private_urls": private_urls}
    try:
        if isinstance(payload, (str, bytes)):
            return adapter.validate_json(payload, context=context)
        return adapter.validate_python(payload, context=context)
    except ValidationError as error:
        raise InvalidPayload("; ".join(_faults(error))) from None


def placeholders(prompt: str) -> list[str]:
    """The names in ``prompt``, each once, in order of appearance."""
    return list(dict.fromkeys(PLACEHOLDER.findall(prompt)))


def fill(prompt: str, inputs: Mapping[str, str]) -> str:
    """``prompt`` with each placeholder replaced once; placeholders in an input are never expanded.

    Raises KeyError, naming the placeholder, if it has no input.
    """
    return PLACEHOLDER.sub(lambda match: inputs[match.group(1)], prompt)


_MODELS: dict[str, TypeAdapter[Payload]] = {
    "text_to_image": TypeAdapter(TextToImage),
    "image_conversion": TypeAdapter(ImageConversion),
    "image_processing": TypeAdapter(ImageProcessing),
}


def _faults(error: ValidationError) -> list[str]:
    """One ``field: problem`` for each fault, without the value: it may be private."""
    faults: list[str] = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        field = ".".join(str(part) for part in fault["loc"]) or "payload"
        problem = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            problem = "unknown field"
        faults.append(f"{field}: {problem}")
    return faults
