"""Put the example models' profile into the examples that hold it beside a service: for Kubernetes as it is, and for
engines with its heaviest tier made by one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hadis.api.cascade_profile import CascadeProfile
from hadis.api.manifest import read_profile, write_profile

from hadis_profiler.offline import store

LIGHT, HEAVY = "scenes-large-5", "scenes-large-20"


def with_engine(scenes: CascadeProfile, engines: CascadeProfile) -> CascadeProfile:
    """Return the profile of a cascade whose heavy tier an engine makes.

    What the engine is and how fast it draws is kept from the profile before; its images are those of the scenes' tier,
    and so are qualities, confidences and difficulty.
    """
    tiers = {tier.name: tier for tier in scenes.spec.tiers}
    engine = next(tier for tier in engines.spec.tiers if tier.remote is not None)
    light = tiers[LIGHT].model_copy(update={"model": f"scenes/{tiers[LIGHT].model}"})
    alike = ("name", "steps", "discriminator_seconds", "confidence_quantiles")
    heavy = engine.model_copy(update={"model": HEAVY} | {name: getattr(tiers[HEAVY], name) for name in alike})
    rows = tuple(row for row in scenes.spec.configurations if {row.light, row.heavy} <= {LIGHT, HEAVY})
    parts = {"tiers": (light, heavy), "configurations": rows, "difficulty": scenes.spec.difficulty}
    spec = engines.spec.model_copy(update=parts)
    return engines.model_copy(update={"spec": spec})


def replace_profile(path: Path, profile: CascadeProfile) -> None:
    """Write a profile into a manifest in place of its own, which is the last document there."""
    before, end, _ = path.read_text("utf-8").partition("---\n")
    write_profile(draft := path.with_suffix(".draft"), profile)
    store.write(path, f"{before}{end}".encode() + draft.read_bytes())
    draft.unlink()


if __name__ == "__main__":
    examples = Path(sys.argv[1])
    scenes = read_profile(examples / "scenes/profile.yaml")
    replace_profile(examples / "kubernetes/scenes.yaml", scenes)
    replace_profile(examples / "engines.yaml", with_engine(scenes, read_profile(examples / "engines.yaml")))
