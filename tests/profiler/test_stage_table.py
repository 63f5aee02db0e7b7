"""Stage table: costs, the Pareto front of measured rows, and profiles of no use."""

from __future__ import annotations

import csv
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hadis.planning.pareto import pareto_front
from hadis_profiler.offline.quality import Row
from hadis_profiler.offline.table import Measurements, TableError, check, confidence_of, cost_of
from profiler_runs import DATA


def test_a_row_costs_what_its_tiers_do() -> None:
    image_s, discriminator_s = [1.0, 10.0], 0.5
    assert cost_of(Row(1, 1, 0, 0, 1.0, None), image_s, discriminator_s) == 10.0
    assert cost_of(Row(0, 1, 0.2, 0.5, 1.0, None), image_s, discriminator_s) == pytest.approx(0.8 * 1.5 + 0.6 * 10)
    assert cost_of(Row(0, 1, 0.2, 0.0, 1.0, None), image_s, discriminator_s) == pytest.approx(0.8 * 1.0 + 0.2 * 10)
    better = Row(0, 1, 0.2, 0.5, 1.0, None, best_of_two=True)
    assert cost_of(better, image_s, discriminator_s) == pytest.approx(0.8 * 1.5 + 0.6 * 10.5)


def test_the_mean_confidence_is_of_the_images_that_a_row_serves() -> None:
    confidence = [np.array([0.9, 0.2, 0.8, 0.4, 9.0]), np.array([1.0, 0.9, 0.7, 0.6, 9.0])]
    measured = SimpleNamespace(
        test=np.arange(4),  # the last prompt was trained on
        difficulty=SimpleNamespace(scores=np.array([4.0, 3.0, 2.0, 1.0, 0.0])),
        discrimination=SimpleNamespace(confidence=confidence),
    )

    def mean(row: Row) -> float:
        return confidence_of(cast(Measurements, measured), row)

    assert mean(Row(0, 0, 0, 0, 1.0, None)) == pytest.approx((0.9 + 0.2 + 0.8 + 0.4) / 4)
    assert mean(Row(0, 1, 0.25, 1 / 3, 1.0, None)) == pytest.approx((1.0 + 0.9 + 0.8 + 0.4) / 4)


@pytest.mark.skipif(not DATA.is_dir(), reason="the paper's data is not here")
def test_the_papers_front_comes_out_of_its_rows() -> None:
    with (DATA / "config_results_hybrid.csv").open(newline="") as file:
        rows = [
            Row(
                light=int(row["light_model"]),
                heavy=int(row["heavy_model"]),
                direct=float(row["router_ratio"]),
                deferral=float(row["disc_ratio"]),
                quality=float(row["fid"]),
                score=None,
            )
            for row in csv.DictReader(file)
        ]
    costs = [(cost_of(row, [0.5, 1.3, 13, 27], 0.0), row.quality) for row in rows]
    assert (len(rows), len(pareto_front(costs))) == (726, 49)


def test_a_profile_of_no_use_is_refused() -> None:
    worse = [Row(0, 0, 0, 0, 1.0, None), Row(1, 1, 0, 0, 2.0, None)]
    with pytest.raises(TableError, match="the heavy tier is not better"):
        check(["a", "b"], worse, [0])
    with pytest.raises(TableError, match="3 are the least"):
        check(["a", "b"], [Row(0, 0, 0, 0, 2.0, None), Row(1, 1, 0, 0, 1.0, None)], [0, 1])
