"""docs/models.md, from what the families' tiny models did."""

from __future__ import annotations

import textwrap

from headings import anchor

from families.catalogue import FAMILIES, Family
from families.measure import Findings

HEAD = """\
# Models

Any diffusers pipeline that makes images of text alone can be a tier. A test writes this page (`make models`): it builds
a tiny model of each family below out of diffusers' own classes, with the components and files of the real one, loads it
as a worker does, warms it up with the tier's own steps (HunyuanImage: with ten), and asks it for images. What
[a tier can say](profiling.md#what-a-tier-says) stands in the guide.

The weights were random and tiny. So it is proved that a family loads, that settings act or are refused, that a batch
does not change an image, that sizes are as they were asked for and that a running batch stops. It is not proved that
the real weights load into your GPU's memory, how good the images are, or how fast they come: `hadis profile` says that.

| column | what was tried |
|---|---|
| batches | three prompts are the same images alone and at once, up to a level of 255, or are made one at a time |
| guidance | the fields of a tier that change the image |
| negative prompts | whether they act at the settings below, or what they need; no: the pipeline has no use for them |
| stops | a batch that nobody waits for stops at a step, and the next one is as if nothing had been |
| sides | what width and height must be multiples of |
| edits | whether it [makes images from images](images-api.md#edits-and-variations); several: up to 16 for one |
| masks | whether a mask may say what is made anew |

"""


def page(findings: dict[str, Findings]) -> str:
    """Return the page for the findings by family name."""
    rows = [row(family, findings[family.name]) for family in FAMILIES]
    columns = ("family", "batches", "guidance", "negative prompts", "stops", "sides", "edits", "masks")
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    sections = [section(family) for family in FAMILIES]
    return HEAD + "\n".join([*head, *rows]) + "\n\n## Tiers to copy\n\n" + "\n".join(sections)


def row(family: Family, findings: Findings) -> str:
    """Return a family's row of the table."""
    cells = [
        f"[{family.title}](#{anchor(family.title)})",
        "one at a time" if findings.one_at_a_time else "yes",
        findings.guidance or "none",
        {"": "yes", None: "no"}.get(findings.negatives, f"with {findings.negatives}"),
        "yes" if findings.stops else "no",
        "its own sizes" if findings.sides is None else "any" if findings.sides == 1 else str(findings.sides),
        "no" if not findings.edits.images else "yes" if findings.edits.images == 1 else "several",
        "yes" if findings.edits.masks else "no",
    ]
    return f"| {' | '.join(cells)} |"


def section(family: Family) -> str:
    """Return what a tier of a family says."""
    text = family.tier.strip()
    yaml = "\n".join(f"- {line}" if i == 0 else f"  {line}" for i, line in enumerate(text.splitlines()))
    advice = f"{textwrap.fill(family.advice, 120)}\n\n" if family.advice else ""
    return f"### {family.title}\n\n{advice}```yaml\n{yaml}\n```\n"
