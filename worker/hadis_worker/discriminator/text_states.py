"""The states of a text encoder, such as a tier's own: what words mean to models that draw them, learnt before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

_ENCODER, _TOKENIZER = "text_encoder", "tokenizer"
MOST_TOKENS = 77
"""Tokens of a prompt that are read, or fewer where the encoder reads fewer."""


class TextStates(nn.Module):
    """A frozen text encoder with its tokenizer, in the folders that diffusers gives them."""

    def __init__(self, encoder: Any, tokenizer: Any) -> None:
        """Take a transformers model with `last_hidden_state` and its tokenizer."""
        super().__init__()
        self.encoder, self._tokenizer = encoder.float().eval().requires_grad_(False), tokenizer
        self.width = int(encoder.config.hidden_size)
        self.tokens = min(MOST_TOKENS, int(getattr(encoder.config, "max_position_embeddings", MOST_TOKENS)))

    @classmethod
    def of(cls, source: str) -> Self:
        """Return that of a diffusers folder or repository; raise OSError or ValueError where it has none."""
        import transformers

        config = transformers.AutoConfig.from_pretrained(source, subfolder=_ENCODER)
        name = (config.architectures or [""])[0]
        if not hasattr(transformers, name):
            raise ValueError(f"{source}: its text encoder is {name or 'unnamed'}, which transformers does not have")
        encoder = getattr(transformers, name).from_pretrained(source, subfolder=_ENCODER)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, subfolder=_TOKENIZER)
        try:
            states = cls(encoder, tokenizer)
            states.read(["a"])
        except AttributeError as error:
            raise ValueError(f"{source}: its text encoder gives no states of words: {error}") from None
        return states

    @torch.no_grad()
    def read(self, prompts: Sequence[str]) -> Tensor:
        """Return the states (n, T, width) of prompts, 0 where there is no word."""
        device = next(self.encoder.parameters()).device
        read = self._tokenizer(
            list(prompts), padding="max_length", max_length=self.tokens, truncation=True, return_tensors="pt"
        ).to(device)
        states: Tensor = self.encoder(input_ids=read.input_ids, attention_mask=read.attention_mask).last_hidden_state
        masked: Tensor = states * read.attention_mask.unsqueeze(-1)
        return masked

    def save(self, folder: Path) -> None:
        """Write encoder and tokenizer below a folder."""
        self.encoder.save_pretrained(folder / _ENCODER)
        self._tokenizer.save_pretrained(folder / _TOKENIZER)
