"""The drawings of docs/architecture.md as SVG, light or dark as the reader's system is: `make reference` writes them.

They ask nothing of a network or a browser. The layers of `hadis` are read from the import contract itself.
"""

from __future__ import annotations

import sys
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LIGHT = "--paper: #ffffff; --ink: #1c2333; --soft: #5c667a; --line: #8a94a8; --fill: #f3f5fa; --mark: #dfe8ff"
_DARK = "--paper: #171b26; --ink: #e8ecf5; --soft: #a4aec2; --line: #77829a; --fill: #222838; --mark: #26356b"
_STYLE = (
    f"""
svg {{ {_LIGHT}; --edge: #4f6bd8; }}
@media (prefers-color-scheme: dark) {{ svg {{ {_DARK}; --edge: #8fa6ff; }} }}
"""
    + """
.paper { fill: var(--paper); }
.box { fill: var(--fill); stroke: var(--line); }
.mark { fill: var(--mark); stroke: var(--edge); stroke-width: 1.5; }
.group { fill: none; stroke: var(--line); stroke-dasharray: 4 4; }
.arrow { fill: none; stroke: var(--line); stroke-width: 1.5; marker-end: url(#tip); }
.tip { fill: var(--line); }
text { font: 13px system-ui, sans-serif; fill: var(--soft); }
.title { font-weight: 600; font-size: 14px; fill: var(--ink); }
"""
)


class Drawing:
    """Boxes and arrows on a sheet of `width` by `height` pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        """Begin with an empty sheet; `title` is read to those who do not see it."""
        self._size, self._title, self._parts = (width, height), title, list[str]()

    def box(self, x: int, y: int, w: int, h: int, title: str, *lines: str, kind: str = "box") -> None:
        """Draw a box with a title and lines in its middle."""
        self._parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="8"/>')
        top = y + h / 2 - 9 * len(lines) + 5
        for i, text in enumerate((title, *lines)):
            self.text(x + w // 2, top + 18 * i, text, title=i == 0)

    def group(self, x: int, y: int, w: int, h: int, title: str) -> None:
        """Draw a dashed frame with a title at its upper left."""
        self._parts.append(f'<rect class="group" x="{x}" y="{y}" width="{w}" height="{h}" rx="12"/>')
        self.text(x + 14, y + 22, title, anchor="start", title=True)

    def text(self, x: float, y: float, text: str, *, anchor: str = "middle", title: bool = False) -> None:
        """Write a line."""
        kind = ' class="title"' if title else ""
        self._parts.append(f'<text{kind} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def arrow(self, *points: tuple[int, int]) -> None:
        """Draw an arrow through points."""
        way = " L ".join(f"{x} {y}" for x, y in points)
        self._parts.append(f'<path class="arrow" d="M {way}"/>')

    def svg(self) -> str:
        """Return the picture."""
        width, height = self._size
        tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
                f"<title>{escape(self._title)}</title>",
                f"<style>{_STYLE}</style>",
                f'<defs>{tip}<path class="tip" d="M 0 0 L 8 4 L 0 8 z"/></marker></defs>',
                f'<rect class="paper" width="{width}" height="{height}" rx="10"/>',
                *self._parts,
                "</svg>\n",
            ]
        )


_WHAT = {
    "cli": "the commands",
    "kube": "the Kubernetes client",
    "protocol": "what processes say to each other",
    "planning": "pure: no clock, no I/O",
    "api": "the custom resources",
}


def _contract_layers() -> list[tuple[str, list[str]]]:
    """Return the layers of `hadis` from the upper to the lower: a room, and its modules where not all are named."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    rooms: list[tuple[str, list[str]]] = []
    for layer in next(contract["layers"] for contract in contracts if contract["type"] == "layers"):
        room, _, module = layer.removeprefix("hadis.").partition(".")
        if not rooms or rooms[-1][0] != room:
            rooms.append((room, []))
        rooms[-1][1].extend([module] if module else [])
    return rooms


def layers() -> str:
    """Return the packages and the layers of the shared one."""
    rooms = _contract_layers()
    d = Drawing(860, 250 + 46 * len(rooms), "Packages and layers: each imports only what lies below it")
    d.box(20, 20, 820, 46, "hadis_profiler", "nobody imports it; it imports what the arrows say, and hadis")
    components = ("hadis_operator", "kopf"), ("hadis_router", "FastAPI"), ("hadis_worker", "torch")
    for x, (name, what) in zip((20, 304, 588), components, strict=True):
        d.box(x, 104, 252, 54, name, what)
        d.arrow((x + 126, 158), (x + 126, 200))
    d.arrow((430, 66), (430, 104))
    d.text(440, 90, "dispatch, difficulty", anchor="start")
    d.arrow((714, 66), (714, 104))
    d.text(724, 90, "engine", anchor="start")
    d.group(20, 200, 820, 30 + 46 * len(rooms), "hadis (core): each layer imports only those below it")
    for i, (room, modules) in enumerate(rooms):
        y = 234 + 46 * i
        names = ", ".join(f"{room}.{module}" for module in modules) or room
        d.box(40, y, 780, 38, "", kind="mark" if room == "planning" else "box")
        d.text(60, y + 24, names, anchor="start", title=True)
        d.text(800, y + 24, _WHAT.get(room, ""), anchor="end")
    return d.svg()


def request() -> str:
    """Return one request's way through the cascade."""
    d = Drawing(900, 350, "One request: difficulty, queues, tiers, confidence, answer")
    d.box(20, 130, 130, 60, "request", "prompt, deadline")
    d.box(190, 130, 130, 60, "difficulty", "and admission", kind="mark")
    d.box(370, 20, 140, 60, "heavy queue", "by deadline")
    d.box(370, 240, 140, 60, "light queue", "by deadline")
    d.box(570, 20, 120, 60, "heavy tier", "a free worker")
    d.box(570, 240, 120, 60, "light tier", "a free worker")
    d.box(570, 130, 120, 60, "confidence", "enough?", kind="mark")
    d.box(760, 130, 120, 60, "answer", "says its path")
    d.arrow((150, 160), (190, 160))
    d.arrow((255, 130), (255, 50), (370, 50))
    d.text(246, 92, "the hardest", anchor="end")
    d.text(246, 110, "(direct ratio)", anchor="end")
    d.arrow((255, 190), (255, 270), (370, 270))
    d.text(264, 234, "the rest", anchor="start")
    d.arrow((510, 50), (570, 50))
    d.arrow((510, 270), (570, 270))
    d.arrow((630, 240), (630, 190))
    d.arrow((690, 160), (760, 160))
    d.text(724, 150, "yes")
    d.arrow((570, 160), (440, 160), (440, 80))
    d.text(450, 118, "no: again, with", anchor="start")
    d.text(450, 136, "its deadline", anchor="start")
    d.arrow((690, 50), (820, 50), (820, 130))
    d.arrow((690, 178), (725, 178), (725, 225), (820, 225), (820, 190))
    d.text(708, 246, "no, but the heavy tier would", anchor="start")
    d.text(708, 264, "be late: the light image", anchor="start")
    d.arrow((210, 190), (210, 325), (370, 325))
    d.text(380, 329, "429 with Retry-After, where no tier can answer before the deadline", anchor="start")
    return d.svg()


def control() -> str:
    """Return one control step and its three callers."""
    d = Drawing(860, 330, "One control step: observe, decide, act")
    d.text(145, 30, "observe", title=True)
    d.text(430, 30, "decide (pure)", title=True)
    d.text(725, 30, "act", title=True)
    rows = (
        ("operator", "caches of objects, Prometheus", "apply children, write the status"),
        ("hadis up", "workers' status, router's counters", "run file, child processes"),
        ("replay", "simulated fleet, virtual clock", "simulated fleet"),
    )
    for i, (caller, seen, done) in enumerate(rows):
        y = 50 + 70 * i
        d.box(20, y, 250, 52, caller, seen)
        d.box(600, y, 240, 52, caller, done)
        d.arrow((270, y + 26), (330, y + 26))
        d.arrow((530, y + 26), (600, y + 26))
    d.box(
        330,
        50,
        200,
        192,
        "decide",
        "(snapshot, memory)",
        "-> Decision",
        "plan that routes,",
        "workers by tier,",
        "replicas, conditions",
        kind="mark",
    )
    d.arrow((480, 242), (480, 290), (380, 290), (380, 242))
    d.text(430, 312, "memory: forecast, last plan, workers to have; after a restart from the status")
    return d.svg()


def drawings() -> dict[str, str]:
    """Return each drawing by its name."""
    return {"layers": layers(), "request": request(), "control-step": control()}


if __name__ == "__main__":
    for name, text in drawings().items():
        Path(sys.argv[1], "docs/pictures", f"{name}.svg").write_text(text, "utf-8")
