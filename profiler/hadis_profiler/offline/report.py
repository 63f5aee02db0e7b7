"""The report: one page that shows why the profile is as it is, with every picture inside."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from hadis.api.resources import Configuration
from hadis.planning.profile import Profile
from matplotlib.figure import Figure

from hadis_profiler.offline.images import path_of
from hadis_profiler.offline.run import NOTES
from hadis_profiler.offline.table import front

mpl.use("Agg")
_COLOURS = ("#8ecae6", "#219ebc", "#0b6377", "#12343b", "#fb8500", "#6a4fa3", "#d62828", "#1f7a3d")
_SHOWN = 160


def write_report(profile: Profile, work: Path, out: Path) -> None:
    """Write the page; what a run's folder would add is left out where there is none."""
    notes = json.loads((work / NOTES).read_text("utf-8")) if (work / NOTES).exists() else {}
    sections = [_summary(profile, notes), *_front(profile), _latency(profile, notes)]
    if "difficulty" in notes:
        sections.append(_difficulty(notes["difficulty"]))
    if "discriminator" in notes:
        sections.append(_discriminator(notes["discriminator"]))
    if "samples" in notes:
        sections.append(_samples(profile, notes["samples"], work))
    name = html.escape(profile.resource.metadata.name)
    page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Profile {name}</title><style>{_STYLE}</style>
</head><body><h1>Profile {name}</h1>{"".join(sections)}</body></html>"""
    out.write_text(page, "utf-8")


def best_rows(profile: Profile) -> list[Configuration]:
    """Return the rows of the front, by rising cost."""
    rows = profile.configurations
    return [rows[i] for i in front([(c.cost, c.quality) for c in rows])]


def _summary(profile: Profile, notes: dict[str, Any]) -> str:
    spec = profile.resource.spec
    facts = {
        "measured on": spec.gpu_product,
        "source": spec.source,
        "software": ", ".join(f"{name} {version}" for name, version in spec.software.items()),
        "configurations": f"{len(spec.configurations)}, of them {len(best_rows(profile))} on the front",
        "content": profile.hash,
    }
    rows = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts.items() if v)
    return f"<dl>{rows}</dl>"


def _front(profile: Profile) -> Iterator[str]:
    rows, best = profile.configurations, best_rows(profile)
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter([c.cost for c in rows], [c.quality for c in rows], s=8, color="#c9c5ba", label="every configuration")
    costs = [c.cost for c in best]
    measured = [c for c in best if "qualityLow" in c.measures]
    if measured:
        axes.fill_between([c.cost for c in measured], [c.measures["qualityLow"] for c in measured],
                          [c.measures["qualityHigh"] for c in measured], color="#219ebc", alpha=0.2, lw=0,
                          label="90% interval")  # fmt: skip
    axes.plot(costs, [c.quality for c in best], "o-", ms=4, color="#0b6377", label="front")
    drawn = [c for c in best if "random" in c.measures]
    if drawn:
        axes.plot([c.cost for c in drawn], [c.measures["random"] for c in drawn], "x", ms=5, color="#fb8500",
                  label="the same ratios, prompts drawn at random")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("GPU seconds a request")
    axes.set_ylabel("quality (a distance, lower is better)")
    axes.legend(frameon=False)
    yield _section("What quality costs", _picture(figure, "quality against GPU seconds a request"), _gain(drawn))
    yield _section("The front", _table(profile, best))


def _gain(drawn: list[Configuration]) -> str:
    if not drawn:
        return ""
    gains = [c.measures["random"] - c.quality for c in drawn]
    return (
        f"<p>Crosses are the same shares of heavy images, given to prompts by lot. To choose by difficulty and "
        f"confidence is worth {np.mean(gains):.3g} on average, from {min(gains):.3g} to {max(gains):.3g}.</p>"
    )


def _table(profile: Profile, best: list[Configuration]) -> str:
    head = ("light", "heavy", "direct", "deferral", "difficulty over", "confidence under", "GPU s", "quality", "by lot")
    body = []
    for c in best:
        single = c.light == c.heavy
        hard, sure = (
            profile.difficulty_threshold(c.direct_ratio),
            profile.confidence_threshold(c.light, c.deferral_ratio),
        )
        low, high = (c.measures.get(f"quality{end}") for end in ("Low", "High"))
        interval = f" <small>{low:.4g}–{high:.4g}</small>" if low is not None and high is not None else ""
        cells = [
            html.escape(c.light), "" if single else html.escape(c.heavy),
            "" if single else f"{c.direct_ratio:.0%}", "" if single else f"{c.deferral_ratio:.0%}",
            f"{hard:.3f}" if not single and np.isfinite(hard) else "",
            f"{sure:.3f}" if not single and c.deferral_ratio else "",
            f"{c.cost:.4g}", f"{c.quality:.4g}{interval}",
            f"{c.measures['random']:.4g}" if "random" in c.measures else "",
        ]  # fmt: skip
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    titles = "".join(f"<th>{name}</th>" for name in head)
    return f'<div class="wide"><table><tr>{titles}</tr>{"".join(body)}</table></div>'


def _latency(profile: Profile, notes: dict[str, Any]) -> str:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, tier) in zip(_COLOURS, profile.tiers.items(), strict=False):
        sizes, seconds = [p.batch for p in tier.latency], [p.seconds for p in tier.latency]
        left.plot(sizes, seconds, "o-", ms=3, color=colour, label=name)
        right.plot(sizes, [b / s for b, s in zip(sizes, seconds, strict=True)], "o-", ms=3, color=colour)
        points = notes.get("latency", {}).get(name, {}).get("points", [])
        if points:
            left.plot([p["batch"] for p in points], [p["p95_s"] for p in points], ":", color=colour)
    for axes, title in ((left, "seconds a batch (dotted: p95)"), (right, "images a second")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("batch")
        axes.set_title(title, loc="left", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return _section("Latency", _picture(figure, "seconds and images a second by batch size"))


def _difficulty(note: dict[str, Any]) -> str:
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    low, high = note["range"]
    edges = np.linspace(float(low), float(high), len(note["scores"]) + 1)
    axes.bar(edges[:-1], note["scores"], np.diff(edges), align="edge", color="#219ebc")
    axes.set_xlabel("difficulty (not scaled)")
    axes.set_ylabel("prompts")
    predicts = note["heldOut"] > note["noise"]
    verdict = "The text tells which prompts are hard." if predicts else (
        "<strong>The text predicts nothing here</strong>: a direct ratio is no better than a lot; deferral helps."
    )  # fmt: skip
    text = (
        f"<p>{verdict} Rank correlation of the score with the quality gap between the lightest and the heaviest "
        f"tier on prompts that were not fitted on: {note['heldOut']:.3f}; by chance up to {note['noise']:.3f} in 19 of "
        f"20 cases; weights by mutual information reach {note['byInformation']:.3f}.</p>"
    )
    return _section("Difficulty", text, _picture(figure, "histogram of difficulty"))


def _discriminator(note: dict[str, Any]) -> str:
    figure = Figure(figsize=(4.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="#888")
    sure, good, counts = zip(*note["calibration"], strict=True)
    axes.plot(sure, good, "-", color="#0b6377")
    axes.scatter(sure, good, s=[20 + 200 * n / max(counts) for n in counts], color="#0b6377", alpha=0.7)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is good enough")
    text = (
        f"<p>Area under the ROC curve on held-out light images: {note['auc']:.3f}; {note['good']:.0%} of them are good "
        "enough. A dot on the line is a confidence that can be believed; its size is how many images have it.</p>"
    )
    return _section("Discriminator", text, _picture(figure, "calibration of the discriminator"))


def _samples(profile: Profile, samples: list[dict[str, Any]], work: Path) -> str:
    parts = []
    for sample in samples:
        figures = []
        for k, name in enumerate(profile.tiers):
            path = path_of(work / "images" / name, sample["index"])
            if path.exists():
                caption = f"{html.escape(name)}, confidence {sample['confidence'][k]:.2f}"
                figures.append(f'<figure><img alt="" width="{_SHOWN}" src="{_inline(path)}">'
                               f"<figcaption>{caption}</figcaption></figure>")  # fmt: skip
        parts.append(f'<h3>{html.escape(sample["prompt"])}</h3><div class="row">{"".join(figures)}</div>')
    return _section("Where the tiers disagree most, and two where they agree", *parts)


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


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
white-space:nowrap}
tr:nth-child(even){background:#f6f5f1}small{color:#59636b}
.row{display:flex;flex-wrap:wrap;gap:.8rem}figure{margin:0;width:160px}figure img{width:160px;height:160px;
object-fit:contain;image-rendering:pixelated;border-radius:6px}figcaption{font-size:.8rem;color:#59636b}
"""
