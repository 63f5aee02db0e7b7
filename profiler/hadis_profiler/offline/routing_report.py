"""The tables and the drawing of what choosing prompts is worth, for the report and for `bench/routing.md`."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from hadis_profiler.offline.notes import DistanceNote
from hadis_profiler.offline.routing import Array, Gain, Judged, Reached, Way, gains

Row = tuple[str, ...]

_COLOURS = {
    Way.RANDOM: "#fb8500",
    Way.TEXT: "#8ecae6",
    Way.JUDGE: "#219ebc",
    Way.BOTH: "#0b6377",
    Way.BETTER: "#12343b",
    Way.KNOWS_WRONG: "#6a4fa3",
    Way.KNOWS_GAIN: "#b9a7d6",
}
_CURVE_POINTS = 40
_SCORE, _SHARE, _NONE = "{:.3f}", "{:.0%}", "–"
_COSTS, _CLOSED = "GPU seconds per request", "gap closed, from random to knowing what is wrong"


def rows_of(table: Sequence[Gain]) -> Iterator[Row]:
    """Yield a heading of costs, a row per way, and what is made of them; intervals are of 90%."""
    yield _COSTS, *(f"{gain.cost:.3g}" for gain in table)
    for way in Way:
        yield way.value, *(_cell(gain.reached[way], _SCORE) for gain in table)
    yield _CLOSED, *(_cell(gain.closed, _SHARE) for gain in table)
    worth = (_NONE if math.isnan(gain.auc_worth) else f"{gain.auc_worth:.4f}" for gain in table)
    yield "a hundredth of the discriminator's AUC is worth", *worth


def text_rows(judged: Judged, by_features: Array, costs: Sequence[float], resamples: int) -> Iterator[Row]:
    """Yield a heading of costs, and what text reaches by its features alone (n,) and by `judged`'s difficulty."""
    scores = {"text features": replace(judged, difficulty=by_features), "text features and n-grams": judged}
    tables = {name: gains(known, costs, resamples) for name, known in scores.items()}
    yield _COSTS, *(f"{cost:.3g}" for cost in costs)
    for way in (Way.TEXT, Way.BOTH):
        for name, table in tables.items():
            yield f"{way.value}, by {name}", *(_cell(gain.reached[way], _SCORE) for gain in table)


def distance_rows(notes: Sequence[DistanceNote], costs: Sequence[float]) -> Iterator[Row]:
    """Yield a heading of costs, a row of distances per way, and the share of the gap that is closed, if it is known."""
    yield _COSTS, *(f"{cost:.3g}" for cost in costs)
    reached = {note.way: np.interp(costs, note.costs, note.distances, left=np.nan) for note in notes}
    for way, distances in reached.items():
        yield way.value, *(_NONE if math.isnan(d) else _SCORE.format(d) for d in distances)
    if Way.KNOWS_WRONG in reached:
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = reached[Way.RANDOM] - reached[Way.KNOWS_WRONG]
            closed = np.where(gap > 0, (reached[Way.RANDOM] - reached[Way.BETTER]) / gap, np.nan)
        yield _CLOSED, *(_NONE if math.isnan(share) else _SHARE.format(share) for share in closed)


def markdown(rows: Iterable[Row]) -> str:
    """Return a table in Markdown, the first row being its heading."""
    heading, *others = rows
    lines = [heading, tuple("---" for _ in heading), *others]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def html_table(rows: Iterable[Row]) -> str:
    """Return a table in HTML, the first row being its heading."""
    heading, *others = rows
    titles = "".join(f"<th>{html.escape(cell)}</th>" for cell in heading)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in others)
    return f'<div class="wide"><table><tr>{titles}</tr>{body}</table></div>'


def drawing(judged: Judged) -> Figure:
    """Return the mean score over GPU seconds per request, a line per way."""
    low, high = judged.image_s[0], judged.image_s[-1]
    costs = [low * (high / low) ** (i / _CURVE_POINTS) for i in range(_CURVE_POINTS + 1)]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    table = gains(judged, costs, resamples=0)
    for way, colour in _COLOURS.items():
        style = "--" if way in (Way.KNOWS_WRONG, Way.KNOWS_GAIN) else "-"
        axes.plot(costs, [gain.reached[way].score for gain in table], style, color=colour, label=way.value)
    axes.set_xscale("log")
    axes.set_xlabel("GPU seconds per request")
    axes.set_ylabel("mean score, higher is better")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _cell(reached: Reached, words: str) -> str:
    if math.isnan(reached.score):
        return _NONE
    known = not math.isnan(reached.low)
    interval = f" ({words.format(reached.low)}–{words.format(reached.high)})" if known else ""
    return words.format(reached.score) + interval
