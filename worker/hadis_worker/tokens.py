"""How much of a prompt a pipeline's text encoders do not read: diffusers cuts what is too long, and says nothing."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing it takes seconds, and who only catches a LoadError need not wait
    from transformers import PreTrainedTokenizerBase

_NO_LIMIT = 1_000_000
"""transformers writes a huge number where a tokenizer has no limit of its own."""


@dataclass(frozen=True)
class TextLimit:
    """A tokenizer, and how many of its tokens are read, those that it adds itself included."""

    tokenizer: PreTrainedTokenizerBase
    tokens: int

    def cut(self, prompts: Sequence[str]) -> list[int]:
        """Return how many tokens of each prompt are not read."""
        tokenized = self.tokenizer(list(prompts), truncation=False, verbose=False).input_ids
        return [max(0, len(ids) - self.tokens) for ids in tokenized]


def text_limits(pipeline: Any, max_sequence_length: int | None = None) -> tuple[TextLimit, ...]:
    """Return the limits of a pipeline's text encoders.

    CLIP reads what its tokenizer says (77). The others read `max_sequence_length`, by default the pipeline's own, or
    what their tokenizer says where the pipeline has no such argument.
    """
    from transformers import PreTrainedTokenizerBase

    argument = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    longest = None if argument is None else max_sequence_length or argument.default
    limits = []
    for name, tokenizer in pipeline.components.items():
        encoder = pipeline.components.get(name.replace("tokenizer", "text_encoder"))
        if not isinstance(tokenizer, PreTrainedTokenizerBase) or encoder is None:
            continue
        clip = str(getattr(getattr(encoder, "config", None), "model_type", "")).startswith("clip")
        tokens = tokenizer.model_max_length if clip or longest is None else longest
        if tokens < _NO_LIMIT:
            limits.append(TextLimit(tokenizer, tokens))
    return tuple(limits)


def truncated_tokens(prompts: Sequence[str], limits: Sequence[TextLimit]) -> list[int] | None:
    """Return for each prompt how many tokens no encoder reads, by the one that reads most; None without limits."""
    if not limits:
        return None
    return [min(cut) for cut in zip(*(limit.cut(prompts) for limit in limits), strict=True)]
