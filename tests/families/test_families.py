"""Every family keeps what a worker promises, and docs/models.md says what it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import TinyModels

from families.catalogue import FAMILIES, Family
from families.measure import failures, measure
from families.page import HEAD, row, section

PAGE = Path(__file__).parents[2] / "docs/models.md"
REASON = "run `make models`"


@pytest.mark.filterwarnings(
    # Chroma's and Kolors' own code in diffusers does what diffusers and torch deprecate.
    "ignore:`FluxPosEmbed` is deprecated:FutureWarning",
    "ignore:`torch.jit.script` is deprecated:FutureWarning",
)
@pytest.mark.parametrize(
    "family",
    [pytest.param(family, id=family.name, marks=[pytest.mark.slow] if family.slow else []) for family in FAMILIES],
)
def test_a_family_keeps_what_is_promised_and_the_page_says_what_it_does(
    family: Family, tiny: TinyModels, tmp_path: Path
) -> None:
    found = measure(family, tiny, tmp_path)
    assert failures(found) == []
    text = PAGE.read_text("utf-8")
    assert row(family, found) in text, REASON
    assert section(family) in text, REASON


def test_the_page_has_nothing_else() -> None:
    text = PAGE.read_text("utf-8")
    assert text.startswith(HEAD), REASON
    assert text.count("\n### ") == len(FAMILIES), REASON
    assert text.count("\n| [") == len(FAMILIES), REASON
