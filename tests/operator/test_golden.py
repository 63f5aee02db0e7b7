"""The children of the examples are those that were written down, byte for byte."""

from __future__ import annotations

import pytest
from golden import EXAMPLES, golden_file, text


@pytest.mark.parametrize("example", EXAMPLES)
def test_children_are_those_of_before(example: str) -> None:
    assert text(example) == golden_file(example).read_text("utf-8"), "if that is meant: see golden.py"
