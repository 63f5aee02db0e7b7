"""How a tier's diffusers pipeline is put together: components from elsewhere, LoRAs, and the scheduler."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from hadis.api.fields import Fields
from hadis.api.rules import INSIDE, LONGEST_PATH, RELATIVE_IN_KUBERNETES, Rule

Text = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Revision = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=512)]
"""A commit, branch or tag."""
InsidePath = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PATH), INSIDE]
"""A path below a model's folder."""
ModelPath = Annotated[InsidePath, RELATIVE_IN_KUBERNETES]
"""A repository, or a folder relative to the manifest; on one machine any folder of it."""
Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$", max_length=11)]
"""Width x height of an image, in pixels."""


def width_height(size: str) -> tuple[int, int]:
    """Return the sides of a size, in pixels."""
    width, height = size.split("x")
    return int(width), int(height)


class Component(Fields):
    """A part of a pipeline that is taken from elsewhere, such as a distilled UNet."""

    rules = (
        Rule(
            "!(has(self.file) && has(self.gguf))",
            lambda part: part.file is None or part.gguf is None,
            "write file or gguf, not both",
        ),
        Rule(
            "!has(self.file) || !self.file.endsWith('.gguf')",
            lambda part: part.file is None or not part.file.endswith(".gguf"),
            "file: it is a gguf file; write it under gguf",
        ),
    )
    model: ModelPath = Field(description="Repository, or a folder relative to the manifest.")
    subfolder: InsidePath | None = Field(None, description="Folder inside of the model.")
    file: InsidePath | None = Field(
        None, description="A single .safetensors file of the model; its shape is that of the component it stands for."
    )
    gguf: InsidePath | None = Field(None, description="A single .gguf file of the model: weights that are quantized.")
    revision: Revision | None = Field(None, description="Commit, branch or tag of the repository.")
    variant: Text | None = Field(None, description="Variant of the files, such as fp16.")

    @property
    def single_file(self) -> str | None:
        """The single file that it is, below `subfolder`; None where it is a folder."""
        return self.file or self.gguf


class Lora(Fields):
    """A LoRA, which is fused into the weights when the tier is loaded."""

    model: ModelPath = Field(description="Repository, or a folder relative to the manifest.")
    file: InsidePath = Field(description="The .safetensors file of the model.")
    revision: Revision | None = Field(None, description="Commit, branch or tag of the repository.")
    scale: float = Field(1.0, ge=-10, le=10, description="Weight of the LoRA.")


class Scheduler(Fields):
    """The scheduler, where it is not the one that the model brings."""

    class_: Text | None = Field(None, alias="class", description="diffusers class; default: the model's own.")
    arguments: dict[str, Any] = Field({}, description="Arguments of the class that differ from the model's own.")
