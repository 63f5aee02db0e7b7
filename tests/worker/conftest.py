"""Tiny models, made once for all tests that ask for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tiny_models import TinyModels


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Models of random weights by name; see `tiny_models.BUILDERS`."""
    return TinyModels(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute in one thread: two that a busy machine runs in turns take fifty times as long for models so small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
