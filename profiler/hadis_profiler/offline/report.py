"""The report: one page that shows why the profile is as it is, with every picture inside."""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from hadis.planning.profile import Profile
from matplotlib.figure import Figure

from hadis_profiler.offline import routing_report
from hadis_profiler.offline.front_report import best_rows, front
from hadis_profiler.offline.notes import DifficultyNote, DiscriminatorNote, DistanceNote, Notes, RoutingNote, Sample
from hadis_profiler.offline.report_page import page, picture, section
from hadis_profiler.offline.routing import Judged, gains, usual_costs

mpl.use("Agg")
_COLOURS = ("#8ecae6", "#219ebc", "#0b6377", "#12343b", "#fb8500", "#6a4fa3", "#d62828", "#1f7a3d")
_RESAMPLES = 200
_WORTH_MORE = 0.005
"""Rise of the area under the ROC curve, with the last step of the learning curve, that makes another step worth it."""


def write_report(profile: Profile, notes: Notes | None, out: Path) -> None:
    """Write the page; without a run's notes it has no 95th percentiles, difficulty, calibration or images."""
    sections = [_summary(profile), *front(profile), _latency(profile, notes)]
    if notes:
        sections += [
            _difficulty(notes.difficulty, notes.routing),
            _discriminator(notes.discriminator),
            *([_routing(notes.routing.judged)] if notes.routing else []),
            *([_routing_by_distance(notes.distances)] if notes.distances else []),
            _samples(notes.samples),
        ]
    out.write_text(page(f"Profile {profile.resource.metadata.name}", sections), "utf-8")


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
    return section("Latency", picture(figure, "seconds per batch and images per second by batch size"))


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
    return section("Difficulty", text, picture(figure, "histogram of difficulty"))


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
    return section("Discriminator", text, picture(figure, "calibration of the discriminator"), _learning(note))


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
    return section(
        "What choosing is worth",
        text,
        picture(routing_report.drawing(judged), "score by cost"),
        routing_report.html_table(routing_report.rows_of(table)),
    )


def _routing_by_distance(notes: Sequence[DistanceNote]) -> str:
    costs = usual_costs(notes[0].costs[0], notes[0].costs[-1])
    text = "<p>The same by distance (lower is better), linear between configurations.</p>"
    return section(
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
    return section("Prompts on which the tiers differ most, then two on which they differ least", *parts)
