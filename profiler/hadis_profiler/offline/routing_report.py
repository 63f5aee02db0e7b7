"""The table and the drawing of what choosing prompts is worth, for the report and for `bench/routing.md`."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from hadis_profiler.offline.routing import Array, Gain, Judged, Reached, Way, gains

Row = tuple[str, ...]

_COLOURS = {
    Way.RANDOM: "#fb8500",
    Way.TEXT: "#8ecae6",
    Way.JUDGE: "#219ebc",
    Way.BOTH: "#0b6377",
    Way.KNOWS_WRONG: "#6a4fa3",
    Way.KNOWS_GAIN: "#b9a7d6",
}
_CURVE_POINTS = 40
_SCORE, _SHARE = "{:.3f}", "{:.0%}"


def rows_of(table: Sequence[Gain]) -> Iterator[Row]:
    """Yield a heading of costs, a row per way, and the share of the gap that is closed; intervals are of 90%."""
    yield "GPU seconds per request", *(f"{gain.cost:.3g}" for gain in table)
    for way in Way:
        yield way.value, *(_cell(gain.reached[way], _SCORE) for gain in table)
    yield "gap closed by both, from random to knowing what is wrong", *(_cell(gain.closed, _SHARE) for gain in table)


def text_rows(judged: Judged, by_features: Array, costs: Sequence[float], resamples: int) -> Iterator[Row]:
    """Yield a heading of costs, and what text reaches by its features alone (n,) and by `judged`'s difficulty."""
    scores = {"text features": replace(judged, difficulty=by_features), "text features and n-grams": judged}
    tables = {name: gains(known, costs, resamples) for name, known in scores.items()}
    yield "GPU seconds per request", *(f"{cost:.3g}" for cost in costs)
    for way in (Way.TEXT, Way.BOTH):
        for name, table in tables.items():
            yield f"{way.value}, by {name}", *(_cell(gain.reached[way], _SCORE) for gain in table)


def markdown(table: Iterable[Row]) -> str:
    """Return a table in Markdown; its first row is the heading."""
    heading, *rows = table
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def html_table(table: Iterable[Row]) -> str:
    """Return a table in HTML; its first row is the heading."""
    heading, *rows = table
    titles = "".join(f"<th>{html.escape(cell)}</th>" for cell in heading)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
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
        return "–"
    known = not math.isnan(reached.low)
    interval = f" ({words.format(reached.low)}–{words.format(reached.high)})" if known else ""
    return words.format(reached.score) + interval
