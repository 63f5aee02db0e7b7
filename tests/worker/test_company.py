"""A tier whose images depend on what is made beside them makes one at a time; rounding alone does not make it so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hadis.api.tier import BatchLatency, Tier
from hadis.protocol.worker import GenerateBatch, WireJob
from hadis_worker import company
from hadis_worker.engine import Engine
from hadis_worker.painter import Call, Painted, Pixels


def paints(beside: float, itself: float) -> Callable[[tuple[str, ...]], Pixels]:
    """Return a model by which a prompt is so many levels off beside another and beside itself, and another one 40."""

    def paint(prompts: tuple[str, ...]) -> Pixels:
        levels = {1: 40.0 * (prompts == (company.OTHER,)), 2: beside if company.OTHER in prompts else itself}[
            len(prompts)
        ]
        return np.full((len(prompts), 2, 2, 3), 0.5 + levels / 255, np.float32)

    return paint


@pytest.mark.parametrize(
    ("beside", "itself", "matters", "batches"),
    [(0.0, 0.0, False, 2), (0.4, 0.4, False, 2), (5.0, 0.0, False, 3), (20.0, 15.0, False, 4), (20.0, 5.0, True, 4)],
    ids=["equal", "rounding", "rounding of half precision", "any batch of two changes it", "another image"],
)
def test_company_matters_where_more_than_rounding_changes(
    beside: float, itself: float, matters: bool, batches: int
) -> None:
    made, paint = list[tuple[str, ...]](), paints(beside, itself)

    def noted(prompts: tuple[str, ...]) -> Pixels:
        made.append(prompts)
        return paint(prompts)

    assert company.matters(noted) is matters
    assert len(made) == batches


def test_of_a_filtered_image_nothing_is_known() -> None:
    assert not company.matters(lambda prompts: None)


@pytest.mark.parametrize("padded", [True, False])
def test_a_tier_that_depends_on_company_makes_batches_of_one(padded: bool) -> None:
    sizes: list[int] = []

    class Painter:
        takes_negative_prompts = True
        default_negative_prompt: str | None = None
        prompt_tokens: int | None = None

        def paint(self, call: Call) -> Painted:
            sizes.append(len(call.prompts))
            value = max(map(len, call.prompts)) / 1000 if padded else 0.5
            return Painted(np.full((len(call.prompts), call.height, call.width, 3), value, np.float32))

    tier = Tier(name="t", model="m", steps=2, size="8x8", latency=(BatchLatency(batch=1, seconds=1),))
    engine = Engine([tier], {"t": Painter()})
    engine.warm_up(tier)
    assert engine.makes_one_at_a_time("t") is padded
    sizes.clear()
    jobs = tuple(
        WireJob(id=str(i), prompt="p" * (i + 1), seed=i, negative_prompt="n" * (i % 2) or None) for i in range(4)
    )
    assert all(image for _, image in engine.generate(GenerateBatch(tier="t", jobs=jobs)))
    assert sizes == ([1, 1, 1, 1] if padded else [2, 2])
