"""A page of sections with pictures, all in one file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable

from matplotlib.figure import Figure

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


def page(title: str, sections: Iterable[str]) -> str:
    """Return a page in HTML."""
    title = html.escape(title)
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><style>{_STYLE}</style>
</head><body><h1>{title}</h1>{"".join(sections)}</body></html>"""


def picture(figure: Figure, words: str) -> str:
    """Return a figure as an image that the page holds, with `words` for who cannot see it."""
    body = io.BytesIO()
    figure.savefig(body, format="svg")
    inside = base64.b64encode(body.getvalue()).decode()
    return f'<img class="plot" alt="{html.escape(words)}" src="data:image/svg+xml;base64,{inside}">'


def section(title: str, *parts: str) -> str:
    """Return a section of HTML parts."""
    return f"<section><h2>{title}</h2>{''.join(parts)}</section>"
