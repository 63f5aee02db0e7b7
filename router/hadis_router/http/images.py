"""OpenAI's images API: a request's fields, each honoured, ignored or refused, and what they say of each image."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from hadis.api.fields import Fields
from hadis.api.images_api import AUTO_MODEL, plain_name
from hadis.protocol.worker import Format
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from hadis_router.dispatch.edit import EditInputs
from hadis_router.dispatch.image_params import ImageParams, Preference

_LINKED = ("dall-e-2", "dall-e-3")
"""OpenAI's models that answer with URLs unless base64 is asked for; a date may follow their names."""
MOST_CHARACTERS = 32_000
"""OpenAI's limit for its newest image models."""
_SEEDS = 2**63
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
"""Those that are white space are let in: texts that are copied from documents have them where a line or page ends."""
_SIZE = re.compile("auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4}")
_HIGH = ("high", "xhigh", "max", "hd")


def _has_no_controls(text: str) -> str:
    if control := _CONTROLS.search(text):
        raise ValueError(f"holds U+{ord(control[0]):04X}, a control character")
    return text


def says_something(prompt: str) -> str:
    """Return a prompt; raise ValueError for an empty one."""
    if not prompt.strip():
        raise ValueError("is empty; say what to draw")
    return prompt


def _is_size(size: str) -> str:
    if not _SIZE.fullmatch(size):
        raise ValueError("is no size; write WIDTHxHEIGHT in pixels, such as 1024x1024, or auto")
    return size


def _refused(words: str, *values: str) -> BeforeValidator:
    """Return what refuses some values of a field, or all of them but its absence, and says why."""

    def refuse(value: Any) -> Any:
        if value in values or (not values and value is not None):
            raise ValueError(words)
        return value

    return BeforeValidator(refuse)


Text = Annotated[str, AfterValidator(_has_no_controls)]
_OneFrame = Annotated[None, _refused("an image here is one frame; leave it out")]
_NoImage = Annotated[
    None,
    _refused("images are made here from a prompt alone; those from images are made by /v1/images/edits"),
]
_NO_ANIMATIONS_OR_DRAWINGS = "images here are png, jpeg or webp; write one of these"


class GenerateRequest(Fields):
    """Body of `POST /v1/images/generations`.

    Beyond OpenAI's fields: negative_prompt, seed, num_inference_steps, guidance_scale, explain and keep_light.
    """

    model_config = ConfigDict(alias_generator=None, extra="ignore", strict=True)

    prompt: Annotated[Text, AfterValidator(says_something)] = Field(
        max_length=MOST_CHARACTERS, description="What to draw."
    )
    model: str = Field(
        AUTO_MODEL,
        max_length=63,
        description="auto lets the plan decide; a tier's name forces that tier. The service's `modelAliases` are names "
        "too; by default dall-e-3, gpt-image-1 and other models of OpenAI's are auto.",
    )
    n: int = Field(1, ge=1, le=10, description="Images to make.")
    size: Annotated[str, AfterValidator(_is_size)] = Field(
        "auto",
        max_length=16,
        json_schema_extra={"pattern": f"^({_SIZE.pattern})$"},
        description="auto, or WIDTHxHEIGHT in pixels; where no tier makes it, `sizePolicy` of the service decides.",
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        None,
        description="url: an http URL, which lives until `expires_at`. Default: url for the model names dall-e-2 and "
        "dall-e-3, as their clients expect, and b64_json for any other.",
    )
    output_format: Annotated[Format, _refused(_NO_ANIMATIONS_OR_DRAWINGS, "gif", "svg")] = Field(
        "png", description="Format of the images' files."
    )
    output_compression: int = Field(90, ge=0, le=100, description="Quality of jpeg and webp.")
    quality: Literal["auto", "standard", "medium", "low", "high", "xhigh", "max", "hd"] = Field(
        "auto",
        description="low asks for the light tier, high, xhigh, max and hd for the heavy one; else the plan decides.",
    )
    background: Annotated[
        Literal["auto", "opaque"], _refused("images here are opaque; write opaque or auto", "transparent")
    ] = Field("auto", description="Every image is opaque.")
    style: str | None = Field(None, description="Ignored.")
    moderation: str | None = Field(None, description="Ignored: a tier's `safety` decides.")
    complexity: str | None = Field(None, description="Ignored.")
    frame_count: _OneFrame = Field(None, description="Refused.")
    frame_duration_ms: _OneFrame = Field(None, description="Refused.")
    svg: Annotated[None, _refused(_NO_ANIMATIONS_OR_DRAWINGS)] = Field(None, description="Refused.")
    image: _NoImage = Field(None, description="Refused.")
    images: _NoImage = Field(None, description="Refused.")
    mask: _NoImage = Field(None, description="Refused.")
    safety_identifier: Text | None = Field(
        None, max_length=512, description="The same as `user`; where both are given, this one counts."
    )
    user: Text | None = Field(
        None, max_length=512, description="Client whose fair share the request takes from, where there is no API key."
    )
    negative_prompt: Text | None = Field(
        None,
        max_length=MOST_CHARACTERS,
        description='What not to draw, by tiers that take it; "": nothing. Default: the tier\'s own.',
    )
    seed: int | None = Field(None, ge=0, lt=_SEEDS, description="Image i has the seed `seed + i`.")
    num_inference_steps: int | None = Field(
        None, ge=1, le=1000, description="Denoising steps, for a `tunable` tier that `model` names. Default: its own."
    )
    guidance_scale: float | None = Field(
        None, ge=0, le=100, description="Scale of guidance, for a `tunable` tier that `model` names. Default: its own."
    )
    stream: bool = Field(False, description="Send images as server-sent events, as soon as each is made.")
    partial_images: int = Field(
        0,
        ge=0,
        le=3,
        description="With stream: send up to so many images before the answer, previews of its steps among them.",
    )
    explain: bool = Field(False, description="Say in the body, under `hadis`, what each image went through.")
    keep_light: bool = Field(False, description="With explain: the light image too, where the heavy tier made another.")
    _ignored: tuple[str, ...] = ()

    @property
    def wants_links(self) -> bool:
        """Whether the answer holds URLs in place of images."""
        return self.response_format == "url" or (
            self.response_format is None and plain_name(self.model).startswith(_LINKED)
        )

    @property
    def saves_images(self) -> bool:
        """Whether its images are saved before it is answered."""
        return self.wants_links and not self.stream

    @property
    def preference(self) -> Preference | None:
        """The tier of the plan that `quality` asks for."""
        return "light" if self.quality == "low" else "heavy" if self.quality in _HIGH else None

    @property
    def end_user(self) -> str | None:
        """Who the client says that the request is for."""
        return self.safety_identifier or self.user

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of what the client sent that has no effect."""
        return self._ignored

    def ignoring(self, names: tuple[str, ...]) -> Self:
        """Return the request, which remembers what of it is ignored."""
        self._ignored = names
        return self

    @property
    def edit(self) -> EditInputs | None:
        """What the images are made from beside the prompt."""
        return None

    @property
    def event(self) -> str:
        """How its events in a stream begin."""
        return "image_generation"


NEVER_READ = ("style", "moderation", "complexity", "input_fidelity")
"""Fields that are known and change nothing, whatever they hold."""
WITHOUT_EFFECT: Mapping[str, Callable[[GenerateRequest], bool]] = {
    **dict.fromkeys(NEVER_READ, lambda request: True),
    "response_format": lambda request: request.stream and request.response_format == "url",
    "output_compression": lambda request: request.output_format == "png",
    "partial_images": lambda request: not request.stream,
    "keep_light": lambda request: not request.explain,
}
"""Fields that are known, and when they change nothing."""


def image_params(request: GenerateRequest, size: str | None, seed: int, i: int) -> ImageParams:
    """Return what image `i` of a request should be; `size` None: the tier's first."""
    return ImageParams(
        prompt=request.prompt,
        seed=(seed + i) % _SEEDS,
        negative_prompt=request.negative_prompt,
        size=size,
        steps=request.num_inference_steps,
        guidance=request.guidance_scale,
        format=request.output_format,
        compression=request.output_compression,
        edit=request.edit,
    )
