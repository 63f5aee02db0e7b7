"""What choosing prompts is worth: each way's score at equal cost, and the share of the gap that is closed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hadis_profiler.offline.hull import hull_at
from hadis_profiler.offline.notes import DistanceNote, RoutingNote
from hadis_profiler.offline.quality import grid
from hadis_profiler.offline.routing import Judged, Way, gains, usual_costs
from hadis_profiler.offline.routing_distance import distance_hulls
from hadis_profiler.offline.routing_report import distance_rows, html_table, markdown, rows_of, text_rows
from hadis_profiler.offline.table import cost_of

IMAGE_S = (0.01, 0.1)


def judged(noise: float, *, judge_s: float = 0.0, n: int = 400, seed: int = 0) -> Judged:
    """Return prompts of which half are hard: the light tier draws them wrong, the heavy one all right."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(n) < n // 2
    scores = np.stack([(~wrong).astype(float), np.ones(n)])
    rank = scores + rng.normal(size=(2, n)) * noise
    confidence = 0.01 + 0.98 * (rank - rank.min()) / np.ptp(rank)
    return Judged(scores, confidence, wrong + rng.normal(size=n) * 0.5, IMAGE_S, judge_s)


def test_lots_reach_the_line_between_the_tiers_and_a_perfect_judge_half_of_the_heavy_images() -> None:
    half = 0.01 + 0.5 * 0.1  # what a perfect judge needs: a light image of each, and a heavy one of each second
    (gain,) = gains(judged(0.0), [half], resamples=0)
    assert gain.reached[Way.KNOWS_WRONG].score == pytest.approx(1.0)
    assert gain.reached[Way.RANDOM].score == pytest.approx(0.5 + 0.5 * (half - 0.01) / 0.09)
    assert gain.reached[Way.BOTH].score == pytest.approx(1.0)
    assert gain.closed.score == pytest.approx(1.0)


def test_knowing_the_gain_before_drawing_saves_the_light_images() -> None:
    (gain,) = gains(judged(0.0), [0.5 * 0.01 + 0.5 * 0.1], resamples=0)
    assert gain.reached[Way.KNOWS_GAIN].score == pytest.approx(1.0)
    assert gain.reached[Way.KNOWS_WRONG].score < 0.99


def test_a_judge_of_nothing_closes_nothing_and_a_better_one_more() -> None:
    costs = [0.04]
    worth = [gains(judged(noise), costs, resamples=0)[0].reached[Way.JUDGE].score for noise in (100.0, 1.0, 0.3, 0.0)]
    lots = gains(judged(0.0), costs, resamples=0)[0].reached[Way.RANDOM].score
    assert worth == sorted(worth)
    assert worth[0] == pytest.approx(lots, abs=0.03)


def test_what_the_judge_takes_is_paid_for() -> None:
    costs = [0.04]
    free, dear = (gains(judged(0.0, judge_s=s), costs, resamples=0)[0].reached[Way.JUDGE].score for s in (0.0, 0.01))
    assert dear < free


def test_where_nothing_is_deferred_nobody_judges() -> None:
    """A judge that takes long is of no use, and costs those nothing who go by the text alone."""
    free, dear = (gains(judged(0.0, judge_s=s), [0.04, 0.06], resamples=0) for s in (0.0, 1.0))
    by_text = [gain.reached[Way.TEXT].score for gain in free]
    assert [gain.reached[way].score for way in (Way.TEXT, Way.BOTH) for gain in dear] == by_text * 2


def test_the_better_of_two_images_makes_up_for_a_heavy_tier_that_fails_elsewhere() -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((2, 2000)) < 0.5).astype(float)  # either tier is right by chance, whatever the other is
    known = Judged(scores, scores * 0.8 + 0.1, np.zeros(2000), IMAGE_S, 0.001)
    blind = replace(known, confidence=rng.random((2, 2000)))
    cost = [0.01 + 0.1 + 0.002]
    (gain,), (of_blind,) = gains(known, cost, resamples=0), gains(blind, cost, resamples=0)
    assert gain.reached[Way.BETTER].score == pytest.approx(0.75, abs=0.03)
    assert of_blind.reached[Way.BETTER].score < 0.6


def test_a_hundredth_of_auc_is_worth_something_to_a_judge_and_nothing_to_one_of_nothing() -> None:
    known = judged(0.4, n=2000)
    (gain,) = gains(replace(known, difficulty=np.zeros(2000)), [0.04], resamples=0)
    assert 0.001 < gain.auc_worth < 0.02
    (of_nothing,) = gains(judged(100.0, n=2000), [0.011], resamples=0)
    assert abs(of_nothing.auc_worth) < 0.001


def test_by_distance_each_way_has_the_best_of_its_rows() -> None:
    rng = np.random.default_rng(0)
    n = 300
    wrong = rng.permutation(n) < n // 2
    scores = np.stack([(~wrong).astype(float), np.ones(n)])
    features = rng.normal(size=(2, n, 3)) + 4 * (1 - scores)[..., None]
    reference, confidence = rng.normal(size=(n, 3)), scores * 0.9 + 0.05
    rows = list(grid(features, scores, reference, rng.random(n), confidence, 5))
    costs = [cost_of(row, IMAGE_S, 0.001) for row in rows]
    hulls = distance_hulls(rows, costs, features, scores, reference, IMAGE_S, 0.001, 5)
    at = {way: np.interp(0.06, [c for c, _ in corners], [d for _, d in corners]) for way, corners in hulls.items()}
    assert set(hulls) == set(Way)
    assert at[Way.KNOWS_WRONG] == pytest.approx(at[Way.BETTER], rel=0.1)
    assert at[Way.BETTER] <= at[Way.BOTH] <= at[Way.JUDGE] < 0.5 * at[Way.RANDOM]
    assert at[Way.TEXT] == pytest.approx(at[Way.RANDOM], rel=0.2), "difficulty is drawn by lot here"
    assert Way.KNOWS_WRONG not in distance_hulls(rows, costs, features, None, reference, IMAGE_S, 0.001, 5)
    notes = [DistanceNote(way=w, costs=[c for c, _ in h], distances=[d for _, d in h]) for w, h in hulls.items()]
    table = list(distance_rows(notes, [0.001, 0.06]))
    assert [row[0] for row in table[1:-1]] == [way.value for way in Way]
    assert table[-1][1] == "–" and int(table[-1][2].rstrip("%")) > 90


def test_intervals_hold_the_score_and_narrow_with_more_prompts() -> None:
    few, many = (gains(judged(0.5, n=n), [0.04])[0].reached[Way.BOTH] for n in (100, 2000))
    assert few.low < few.score < few.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_a_cost_under_the_lightest_tiers_reaches_nothing() -> None:
    (gain,) = gains(judged(0.5), [0.009])
    assert np.isnan(gain.reached[Way.BOTH].score)
    assert "–" in markdown(rows_of([gain]))


@pytest.mark.parametrize(
    ("points", "at", "expected"),
    [
        ([(1, 0), (3, 1)], 2, 0.5),
        ([(1, 0), (2, 0.1), (3, 1)], 2, 0.5),  # under the line
        ([(1, 0), (2, 0.9), (3, 1)], 2, 0.9),
        ([(1, 0), (1, 0.4), (3, 1)], 1, 0.4),
        ([(1, 0.5), (2, 0.3)], 2, 0.5),  # more cost never takes away
        ([(1, 0.5)], 9, 0.5),
    ],
)
def test_the_hull_is_what_alternating_reaches(points: list[tuple[float, float]], at: float, expected: float) -> None:
    assert hull_at(np.array(points, float), [at])[0] == pytest.approx(expected)


def test_notes_keep_the_prompts_and_tables_have_every_way() -> None:
    known = judged(0.5, n=60)
    again = RoutingNote.model_validate_json(RoutingNote.of(known).model_dump_json(by_alias=True)).judged
    costs = usual_costs(*IMAGE_S)
    table, kept = gains(known, costs, resamples=20), gains(again, costs, resamples=20)
    assert [g.reached[Way.BOTH].score for g in kept] == pytest.approx([g.reached[Way.BOTH].score for g in table])
    by_features = np.zeros(60)
    rows = list(text_rows(known, by_features, costs, resamples=5))
    assert [len(row) for row in rows] == [len(costs) + 1] * 5
    assert {row[0] for row in rows[1:]} == {
        f"{way.value}, by {reads}"
        for way in (Way.TEXT, Way.BOTH)
        for reads in ("text features", "text features and n-grams")
    }
    for way in Way:
        assert way.value in markdown(rows_of(table))
        assert way.value in html_table(rows_of(table))
