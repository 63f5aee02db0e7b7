"""Write `examples/engines.yaml` anew: the example models' profile, with its heaviest tier made by an engine."""

from __future__ import annotations

import sys
from pathlib import Path

from hadis.api.cascade_profile import CascadeProfile
from hadis.api.manifest import read_profile, write_profile

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


if __name__ == "__main__":
    scenes_path, engines_path = map(Path, sys.argv[1:])
    service = engines_path.read_text("utf-8").partition("---\n")[0]
    write_profile(engines_path, with_engine(read_profile(scenes_path), read_profile(engines_path)))
    engines_path.write_text(f"{service}---\n{engines_path.read_text('utf-8')}", "utf-8")
