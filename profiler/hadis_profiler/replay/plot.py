"""Pictures of replays: one run over time, and quality and violations against the number of GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hadis.planning.plan import Plan
from numpy.typing import NDArray

from hadis_profiler.replay.simulate import Outcome

if TYPE_CHECKING:  # a replay without a picture does not wait for it
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_PATHS = {
    "light": "#8ecae6",
    "kept-light": "#fb8500",
    "better-light": "#6a4fa3",
    "deferred": "#219ebc",
    "heavy": "#023047",
}
_BINS = 60


class Timeline:
    """Gathers a run: three values per request, and its plans."""

    def __init__(self) -> None:
        """Start empty."""
        self._outcomes: list[tuple[float, float, str]] = []
        self._plans: list[tuple[float, Plan]] = []

    def add(self, o: Outcome) -> None:
        """Take a request's end."""
        latency = float("nan") if o.answered_s is None else o.answered_s - o.arrival_s
        self._outcomes.append((o.arrival_s, latency, o.how))

    def planned(self, at: float, plan: Plan) -> None:
        """Take a plan."""
        self._plans.append((at, plan))

    def draw(self, path: Path, title: str, slo_s: float) -> None:
        """Write the picture: demand, answers by path, the plan's quality, latency against the SLO."""
        from matplotlib.figure import Figure

        at = np.array([o[0] for o in self._outcomes])
        latency = np.array([o[1] for o in self._outcomes])
        how = np.array([o[2] for o in self._outcomes])
        edges = np.linspace(0, max(1e-9, float(at.max())), _BINS + 1)
        middle, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
        where = np.clip(np.digitize(at, edges) - 1, 0, _BINS - 1)
        figure = Figure(figsize=(9, 8), layout="constrained")
        top, mid, low = figure.subplots(3, 1, sharex=True)
        self._draw_paths(top, middle, width, where, how)
        top.set_title(title, loc="left", fontweight="bold")
        times = [t for t, _ in self._plans]
        mid.step(times, [p.quality for _, p in self._plans], where="post", color="#023047", label="quality planned")
        mid.set_ylabel("quality (lower is better)")
        ratios = mid.twinx()
        for name, color in (("direct_ratio", "#fb8500"), ("deferral_ratio", "#219ebc")):
            values = [getattr(p, name) for _, p in self._plans]
            ratios.step(times, values, where="post", color=color, label=name.replace("_", " "), alpha=0.6, lw=1)
        ratios.set_ylim(0, 1)
        ratios.set_ylabel("ratio")
        handles, labels = _both(mid, ratios)
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        for q, style in ((50, "-"), (95, "--")):
            values = [_percentile(latency[where == i], q) for i in range(_BINS)]
            low.plot(middle, values, style, color="#023047", label=f"p{q}")
        low.axhline(slo_s, color="#d62828", lw=1, label="SLO")
        low.set_ylim(0, slo_s * 1.15)
        low.set_ylabel("latency, s")
        low.set_xlabel("time, s")
        low.legend(frameon=False, ncols=3)
        figure.savefig(path, dpi=120)

    def _draw_paths(
        self, axes: Axes, middle: NDArray[np.float64], width: float, where: NDArray[np.intp], how: NDArray[np.str_]
    ) -> None:
        bottom = np.zeros(_BINS)
        for name, color in _PATHS.items():
            rate = np.bincount(where[how == name], minlength=_BINS) / width
            axes.bar(middle, rate, width, bottom, color=color, label=name)
            bottom += rate
        rest = np.bincount(where[~np.isin(how, list(_PATHS))], minlength=_BINS) / width
        axes.bar(middle, rest, width, bottom, color="#d62828", label="refused or late")
        axes.set_ylabel("requests/s")
        axes.legend(frameon=False, ncols=3, loc="upper left")


def draw_sizes(path: Path, rows: Sequence[tuple[int, float, float]], quality: float, allowed: float) -> None:
    """Write quality and violations (shares) against GPUs, from rows (gpus, quality, violations)."""
    from matplotlib.figure import Figure

    counts = [row[0] for row in rows]
    figure = Figure(figsize=(8, 6), layout="constrained")
    top, low = figure.subplots(2, 1, sharex=True)
    top.plot(counts, [row[1] for row in rows], "o-", color="#023047")
    top.axhline(quality, color="#d62828", lw=1, label=f"asked: {quality:g}")
    top.set_ylabel("quality (lower is better)")
    top.legend(frameon=False)
    low.plot(counts, [100 * row[2] for row in rows], "o-", color="#219ebc")
    low.axhline(100 * allowed, color="#d62828", lw=1, label=f"allowed: {100 * allowed:g}%")
    low.set_ylabel("violations, %")
    low.set_xlabel("GPUs")
    low.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _percentile(values: NDArray[np.float64], q: float) -> float:
    seen = values[np.isfinite(values)]
    return float(np.percentile(seen, q)) if len(seen) else float("nan")


def _both(*axes: Axes) -> tuple[list[Artist], list[str]]:
    handles: list[Artist] = []
    labels: list[str] = []
    for one in axes:
        some, names = one.get_legend_handles_labels()
        handles += some
        labels += names
    return handles, labels
