"""The Pareto front in the report: what quality costs, drawn and as a table."""

from __future__ import annotations

import html
from collections.abc import Iterator

import numpy as np
from hadis.api.resources import Configuration
from hadis.planning.pareto import pareto_front
from hadis.planning.profile import Profile
from matplotlib.figure import Figure

from hadis_profiler.offline.report_page import picture, section

_NONE = "–"


def best_rows(profile: Profile) -> list[Configuration]:
    """Return the rows of the front, by rising cost; where nothing is deferred there is one image to keep."""
    rows = [c for c in profile.configurations if c.deferral_ratio or not c.best_of_two]
    return [rows[i] for i in pareto_front([(c.cost, c.quality) for c in rows])]


def front(profile: Profile) -> Iterator[str]:
    """Yield the sections of the front."""
    rows, best = profile.configurations, best_rows(profile)
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter([c.cost for c in rows], [c.quality for c in rows], s=8, color="#c9c5ba", label="every configuration")
    costs = [c.cost for c in best]
    known = [c for c in best if "qualityLow" in c.measures]
    if known:
        low, high = ([c.measures[f"quality{end}"] for c in known] for end in ("Low", "High"))
        known_costs = [c.cost for c in known]
        axes.fill_between(known_costs, low, high, color="#219ebc", alpha=0.2, lw=0, label="90% interval")
    axes.plot(costs, [c.quality for c in best], "o-", ms=4, color="#0b6377", label="Pareto front")
    pairs = [c for c in best if "random" in c.measures]
    if pairs:
        baseline = [c.measures["random"] for c in pairs]
        label = "the same ratios, prompts drawn at random"
        axes.plot([c.cost for c in pairs], baseline, "x", ms=5, color="#fb8500", label=label)
    axes.set_xscale("log")
    axes.set_xlabel("GPU seconds per request")
    axes.set_ylabel("quality (a distance, lower is better)")
    axes.legend(frameon=False)
    yield section("What quality costs", picture(figure, "quality against GPU seconds per request"), _gain(pairs))
    yield section("The Pareto front", _table(profile, best))


def _gain(pairs: list[Configuration]) -> str:
    if not pairs:
        return ""
    gains = [c.measures["random"] - c.quality for c in pairs]
    return (
        "<p>Crosses have the same shares of heavy images, given to prompts drawn at random. Choosing the prompts by "
        f"difficulty and confidence is worth {np.mean(gains):z.3g} on average, from {min(gains):z.3g} to "
        f"{max(gains):z.3g}.</p>"
    )


_COLUMNS = (
    "light",
    "heavy",
    "direct ratio",
    "deferral ratio",
    "direct if difficulty over",
    "deferred if confidence under",
    "GPU s per request",
    "quality",
    "at random",
)


def _table(profile: Profile, best: list[Configuration]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in _cells(profile, c)) + "</tr>" for c in best)
    titles = "".join(f"<th>{title}</th>" for title in _COLUMNS)
    return f'<div class="wide"><table><tr>{titles}</tr>{body}</table></div>'


def _cells(profile: Profile, c: Configuration) -> Iterator[str]:
    """Yield the cells of a row of the front; what does not apply to it has a dash."""
    pair = c.light != c.heavy
    low, high = c.measures.get("qualityLow"), c.measures.get("qualityHigh")
    interval = f" <small>{low:.4g}–{high:.4g}</small>" if low is not None and high is not None else ""
    hardest = profile.difficulty_threshold(c.direct_ratio)
    yield html.escape(c.light)
    yield html.escape(c.heavy) if pair else _NONE
    yield f"{c.direct_ratio:.0%}" if pair else _NONE
    better = ", the better kept" if c.best_of_two else ""
    yield f"{c.deferral_ratio:.0%}{better}" if pair else _NONE
    yield f"{hardest:z.3f}" if pair and c.direct_ratio and np.isfinite(hardest) else _NONE
    yield f"{profile.confidence_threshold(c.light, c.deferral_ratio):.3f}" if pair and c.deferral_ratio else _NONE
    yield f"{c.cost:.4g}"
    yield f"{c.quality:.4g}{interval}"
    yield f"{c.measures['random']:.4g}" if "random" in c.measures else _NONE
