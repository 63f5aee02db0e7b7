"""How many tokens of a prompt are cut, by encoder: CLIP at its tokenizer's limit, T5 at the pipeline's argument."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hadis_worker.tokens import text_limits, truncated_tokens
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def tokenizer(limit: int | None) -> PreTrainedTokenizerFast:
    """Return one whose tokens are words."""
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?", model_max_length=limit)


def encoder(kind: str) -> SimpleNamespace:
    return SimpleNamespace(config=SimpleNamespace(model_type=kind))


class Plain:
    """A pipeline without an argument for it."""

    def __init__(self, **components: Any) -> None:
        self.components = components

    def __call__(self, prompt: str) -> None: ...


class WithLength(Plain):
    """A pipeline whose T5 reads 20 tokens, unless it is told otherwise."""

    def __call__(self, prompt: str, max_sequence_length: int = 20) -> None: ...


CLIP = {"tokenizer": tokenizer(7), "text_encoder": encoder("clip_text_model")}
T5 = {"tokenizer_2": tokenizer(None), "text_encoder_2": encoder("t5")}


@pytest.mark.parametrize(
    ("pipeline", "longest", "cut"),
    [
        (Plain(**CLIP), None, [0, 3, 18]),
        (WithLength(**CLIP), None, [0, 3, 18]),
        (WithLength(**CLIP, **T5), None, [0, 0, 5]),
        (WithLength(**CLIP, **T5), 24, [0, 0, 1]),
        (WithLength(**CLIP, **T5 | {"text_encoder_2": None}), None, [0, 3, 18]),
        (Plain(**T5), None, None),
        (Plain(tokenizer=object(), text_encoder=object()), None, None),
    ],
    ids=["clip", "clip alone has its own", "t5 reads more", "a tier's length", "no t5", "no limit", "unknown"],
)
def test_tokens_that_no_encoder_reads_are_counted(pipeline: Plain, longest: int | None, cut: list[int] | None) -> None:
    prompts = ["word " * count for count in (7, 10, 25)]
    assert truncated_tokens(prompts, text_limits(pipeline, longest)) == cut
