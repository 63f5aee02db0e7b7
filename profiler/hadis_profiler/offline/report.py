"""The report: one page that shows why the profile is as it is, with every picture inside."""

from __future__ import annotations

import base64
import html
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from hadis.api.resources import Configuration
from hadis.planning.pareto import pareto_front
from hadis.planning.profile import Profile
from matplotlib.figure import Figure

from hadis_profiler.offline import routing_report
from hadis_profiler.offline.notes import DifficultyNote, DiscriminatorNote, DistanceNote, Notes, RoutingNote, Sample
from hadis_profiler.offline.routing import Judged, gains, usual_costs

mpl.use("Agg")
_COLOURS = ("#8ecae6", "#219ebc", "#0b6377", "#12343b", "#fb8500", "#6a4fa3", "#d62828", "#1f7a3d")
_NONE = "–"
_RESAMPLES = 200
_WORTH_MORE = 0.005
"""Rise of the area under the ROC curve, with the last step of the learning curve, that makes another step worth it."""


def write_report(profile: Profile, notes: Notes | None, out: Path) -> None:
    """Write the page; without a run's notes it has no 95th percentiles, difficulty, calibration or images."""
    sections = [_summary(profile), *_front(profile), _latency(profile, notes)]
    if notes:
        sections += [
            _difficulty(notes.difficulty, notes.routing),
            _discriminator(notes.discriminator),
            *([_routing(notes.routing.judged)] if notes.routing else []),
            *([_routing_by_distance(notes.distances)] if notes.distances else []),
            _samples(notes.samples),
        ]
    name = html.escape(profile.resource.metadata.name)
    page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Profile {name}</title><style>{_STYLE}</style>
</head><body><h1>Profile {name}</h1>{"".join(sections)}</body></html>"""
    out.write_text(page, "utf-8")


def best_rows(profile: Profile) -> list[Configuration]:
    """Return the rows of the front, by rising cost; where nothing is deferred there is one image to keep."""
    rows = [c for c in profile.configurations if c.deferral_ratio or not c.best_of_two]
    return [rows[i] for i in pareto_front([(c.cost, c.quality) for c in rows])]


def _summary(profile: Profile) -> str:
    spec = profile.resource.spec
    facts = {
        "measured on": spec.gpu_product,
        "source": spec.source,
        "software": ", ".join(f"{name} {version}" for name, version in spec.software.items()),
        "configurations": f"{len(spec.configurations)}, of them {len(best_rows(profile))} on the front",
        "hash": profile.hash,
    }
    rows = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts.items() if v)
    return f"<dl>{rows}</dl>"


def _front(profile: Profile) -> Iterator[str]:
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
    yield _section("What quality costs", _picture(figure, "quality against GPU seconds per request"), _gain(pairs))
    yield _section("The Pareto front", _table(profile, best))


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


def _latency(profile: Profile, notes: Notes | None) -> str:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, tier) in zip(itertools.cycle(_COLOURS), profile.tiers.items(), strict=False):
        measured = tier.latency_by_size[tier.size]
        sizes, seconds = [p.batch for p in measured], [p.seconds for p in measured]
        left.plot(sizes, seconds, "o-", ms=3, color=colour, label=name)
        right.plot(sizes, [b / s for b, s in zip(sizes, seconds, strict=True)], "o-", ms=3, color=colour)
        points = notes.latency.get(name, ()) if notes else ()
        left.plot([p.batch for p in points], [p.p95_s for p in points], ":", color=colour)
    dotted = " (dotted: 95th percentile)" if notes and notes.latency else ""
    for axes, title in ((left, f"seconds per batch{dotted}"), (right, "images per second")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("batch size")
        axes.set_title(title, loc="left", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return _section("Latency", _picture(figure, "seconds per batch and images per second by batch size"))


def _difficulty(note: DifficultyNote, routing: RoutingNote | None) -> str:
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(note.low, note.high, len(note.histogram) + 1)
    axes.bar(edges[:-1], note.histogram, np.diff(edges), align="edge", color="#219ebc")
    axes.set_xlabel("difficulty")
    axes.set_ylabel("prompts")
    verdict = (
        "The text predicts which prompts are hard."
        if note.held_out > note.noise
        else "<strong>The text predicts nothing here</strong>: a direct ratio is no better than a random choice of "
        "prompts. Deferral, which sees the image, may still be."
    )
    text = (
        f"<p>{verdict} Rank correlation of the difficulty with the quality gap between the lightest and the heaviest "
        f"tier on held-out prompts: {note.held_out:z.3f}. Chance alone stays under {note.noise:.3f} in 19 of 20 cases. "
        f"Weights by mutual information, the paper's kind, reach {note.held_out_by_information:z.3f}.</p>"
    )
    if note.ngrams is not None:
        text += f"<p>{note.ngrams.words}</p>"
    if routing is not None and routing.features_difficulty:
        judged, by_features = routing.judged, np.array(routing.features_difficulty)
        rows = routing_report.text_rows(
            judged, by_features, usual_costs(judged.image_s[0], judged.image_s[-1]), _RESAMPLES
        )
        text += f"<p>What either reaches, as mean score:</p>{routing_report.html_table(rows)}"
    return _section("Difficulty", text, _picture(figure, "histogram of difficulty"))


def _discriminator(note: DiscriminatorNote) -> str:
    figure = Figure(figsize=(4.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="#888")
    confidence, good = [b.confidence for b in note.calibration], [b.good for b in note.calibration]
    most = max((b.images for b in note.calibration), default=1)
    axes.plot(confidence, good, "-", color="#0b6377")
    axes.scatter(confidence, good, s=[20 + 200 * b.images / most for b in note.calibration], color="#0b6377", alpha=0.7)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is good enough")
    text = (
        f"<p>Area under the ROC curve on held-out light images: {note.auc:.3f}; {note.good_share:.0%} of them are good "
        "enough. Where a dot is on the dotted line, confidence is the probability that it claims to be; a larger dot "
        "has more images.</p>"
    )
    return _section("Discriminator", text, _picture(figure, "calibration of the discriminator"), _learning(note))


def _learning(note: DiscriminatorNote) -> str:
    """Return the learning curve in words, and what it says of more prompts."""
    if len(note.curve) < 2:
        return ""
    points = ", ".join(f"{point.auc:.3f} from {point.prompts:,}" for point in note.curve)
    gain = note.curve[-1].auc - note.curve[-2].auc
    more = "More prompts would help" if gain > _WORTH_MORE else "More prompts would hardly help"
    return (
        f"<p>By the number of prompts that were trained on, the area is {points}. {more}: the last step was worth "
        f"{gain:+.3f}.</p>"
    )


def _routing(judged: Judged) -> str:
    table = gains(judged, usual_costs(judged.image_s[0], judged.image_s[-1]))
    text = (
        "<p>The mean score of the images that prompts get, over all pairs of tiers, by how the prompts for the heavy "
        "tier are chosen; on prompts that nothing was trained on, with 90% intervals. Dashed: those who know.</p>"
    )
    return _section(
        "What choosing is worth",
        text,
        _picture(routing_report.drawing(judged), "score by cost"),
        routing_report.html_table(routing_report.rows_of(table)),
    )


def _routing_by_distance(notes: Sequence[DistanceNote]) -> str:
    costs = usual_costs(notes[0].costs[0], notes[0].costs[-1])
    text = "<p>The same by distance (lower is better), linear between configurations.</p>"
    return _section(
        "What choosing is worth by distance",
        text,
        routing_report.html_table(routing_report.distance_rows(notes, costs)),
    )


def _samples(samples: Sequence[Sample]) -> str:
    parts = []
    for sample in samples:
        figures = "".join(
            f'<figure><img alt="" src="{html.escape(image.uri)}"><figcaption>{html.escape(image.tier)}, '
            f"confidence {image.confidence:.2f}</figcaption></figure>"
            for image in sample.images
        )
        parts.append(f'<h3>{html.escape(sample.prompt)}</h3><div class="row">{figures}</div>')
    return _section("Prompts on which the tiers differ most, then two on which they differ least", *parts)


def _picture(figure: Figure, words: str) -> str:
    body = io.BytesIO()
    figure.savefig(body, format="svg")
    inside = base64.b64encode(body.getvalue()).decode()
    return f'<img class="plot" alt="{html.escape(words)}" src="data:image/svg+xml;base64,{inside}">'


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{title}</h2>{''.join(parts)}</section>"


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:68rem;margin:0 auto;padding:1rem;background:#f6f5f1;color:#1d2327}
h1{margin:.2rem 0 1rem}h2{font-size:1.1rem;margin:0 0 .6rem}h3{font-size:.95rem;margin:1rem 0 .3rem;font-weight:600}
section{background:#fff;border:1px solid #d9d6cd;border-radius:10px;padding:1rem;margin:1rem 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0}dt{color:#59636b}dd{margin:0}
.plot{max-width:100%;height:auto;display:block}.wide{overflow:auto}
table{border-collapse:collapse;font-size:.85rem;width:100%}th,td{text-align:left;padding:.15rem .6rem;
white-space:nowrap}th{white-space:normal;vertical-align:bottom}
tr:nth-child(even){background:#f6f5f1}small{color:#59636b}
.row{display:flex;flex-wrap:wrap;gap:.8rem}figure{margin:0;width:160px}figure img{width:160px;height:160px;
object-fit:contain;image-rendering:pixelated;border-radius:6px}figcaption{font-size:.8rem;color:#59636b}
"""
