"""What changed between two profiles, and whether plans change with it."""

from __future__ import annotations

from documents import profile_document
from hadis.api.resources import CascadeProfile, Objective
from hadis.planning.profile import Profile
from hadis_profiler.offline import diff


def test_differences_are_listed_and_plans_compared(profile: Profile) -> None:
    assert not list(diff.differences(profile, profile))
    document = profile_document()
    for point in document["spec"]["tiers"][1]["latency"]:
        point["seconds"] *= 3
    for row in document["spec"]["configurations"]:
        row["quality"] *= 1.5 if row["light"] != row["heavy"] else 1
    changed = Profile(CascadeProfile.read(document))
    lines = list(diff.differences(profile, changed))
    assert any("time of batch 1 +200%" in line for line in lines)
    assert any("changed by over 1%" in line for line in lines)
    objective = Objective.model_validate({"latency": "20s"})
    assert not list(diff.plans(profile, profile, objective, 20.0, 4))
    document["spec"]["tiers"][1]["latency"][0]["seconds"] = 100.0
    slow = Profile(CascadeProfile.read(document))
    assert "->" in next(diff.plans(profile, slow, objective, 5.0, 4))


def test_fronts_are_compared_at_equal_cost() -> None:
    def front(*pairs: tuple[float, float]) -> Profile:
        """Return a profile of two tiers and a pair of each ratio and quality."""
        points = [("light", "light", 0.0, 30.0, 0.1), ("heavy", "heavy", 0.0, 21.0, 1.1)]
        points += [("light", "heavy", direct, quality, 0.1 + direct) for direct, quality in pairs]
        rows = [
            {
                "light": light,
                "heavy": heavy,
                "directRatio": direct,
                "deferralRatio": 0,
                "quality": quality,
                "cost": cost,
            }
            for light, heavy, direct, quality, cost in points
        ]
        return Profile(CascadeProfile.read(profile_document(configurations=rows)))

    (line,) = (
        line for line in diff.differences(front((0.5, 25.0)), front((0.5, 20.0), (0.25, 27.5))) if "front" in line
    )
    assert line == "at equal cost the front's quality changed from -20.0% to +0.0% (lower is better)"
    assert not any("front" in line for line in diff.differences(front((0.5, 25.0)), front((0.5, 25.0))))
