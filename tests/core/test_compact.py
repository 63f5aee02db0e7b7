"""The compact form of a profile's table: the same configurations, in a tenth of the room."""

from __future__ import annotations

import gzip
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import profile_document
from hadis.api.compact import compact_document, content_hash
from hadis.api.manifest import ManifestError, read_manifest, read_profile, write_profile
from hadis.api.resources import CascadeProfile, Configuration
from hadis.api.shares import cascade_gpu_s
from hypothesis import given
from hypothesis import strategies as st

RATIOS = (0.0, 0.25, 0.5, 1.0)
COSTS = {"light": 0.125, "heavy": 1.5}
GRID: dict[str, Any] = {
    "light": "light",
    "heavy": "heavy",
    "directRatios": [0, 1],
    "deferralRatios": [0, 0.5, 1],
    "quality": [30, 29, 28, 21, 21, 21],
    "lightCost": 0.125,
    "heavyCost": 1.5,
}


ROOT = Path(__file__).parents[2]


def grid_rows(**measures: float) -> list[dict[str, Any]]:
    """Return the rows of a full grid of two tiers and of each tier alone, whose costs follow from those of an image."""
    rows = [
        {
            "light": "light",
            "heavy": "heavy",
            "directRatio": direct,
            "deferralRatio": deferral,
            "quality": 30 - 9 * direct - deferral,
            "cost": round(cascade_gpu_s(direct, deferral, COSTS["light"], COSTS["heavy"]), 8),
            "measures": dict(measures),
        }
        for direct, deferral in itertools.product(RATIOS, RATIOS)
    ]
    alone = {"directRatio": 0, "deferralRatio": 0, "quality": 30}
    return [*({"light": n, "heavy": n, "cost": cost, **alone} for n, cost in COSTS.items()), *rows]


def read(rows: list[dict[str, Any]] | None = None, **spec: Any) -> CascadeProfile:
    return CascadeProfile.read(profile_document(**({} if rows is None else {"configurations": rows}), **spec))


def test_a_grid_is_the_rows_that_it_says() -> None:
    rows = read([], cascades=[GRID]).spec.configurations
    assert [(r.direct_ratio, r.deferral_ratio, r.quality, r.cost) for r in rows] == [
        (0, 0, 30, 0.125), (0, 0.5, 29, 0.875), (0, 1, 28, 1.625), (1, 0, 21, 1.5), (1, 0.5, 21, 1.5), (1, 1, 21, 1.5),
    ]  # fmt: skip


def test_a_row_is_taken_before_its_place_in_a_grid() -> None:
    row = {"light": "light", "heavy": "heavy", "directRatio": 1, "deferralRatio": 1, "quality": 20, "cost": 2}
    rows = read([row], cascades=[GRID]).spec.configurations
    assert len(rows) == 6
    assert rows[-1] == Configuration.model_validate(row)


def test_full_grids_are_written_without_rows_and_read_as_the_same_profile() -> None:
    profile = read(grid_rows(score=0.5))
    document = compact_document(profile)
    assert [c["heavy"] for c in document["spec"]["cascades"]] == ["light", "heavy", "heavy"]
    assert "configurations" not in document["spec"]
    assert document["spec"]["cascades"][2]["measures"] == {"score": [0.5] * 16}
    assert content_hash(CascadeProfile.read(document)) == content_hash(profile)


@given(st.integers(0, 10_000))
def test_whatever_the_rows_are_the_document_reads_as_the_same_configurations(seed: int) -> None:
    rng, rows = random.Random(seed), grid_rows()
    for row in rng.sample(rows, rng.randrange(4)):
        row |= rng.choice([{"measures": {"low": 1.0}}, {"quality": 7.0}, {"cost": 9.0}])
    rows = rng.sample(rows, rng.choice([len(rows), len(rows) - 1, 1]))
    rows += [row | {"quality": 8.0} for row in rows[: rng.randrange(2)]]  # measured twice
    profile = read(rows)
    again = CascadeProfile.read(compact_document(profile))
    assert sorted(again.spec.configurations, key=str) == sorted(profile.spec.configurations, key=str)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"quality": [1.0] * 5},
            "cascades.0: quality: write one number for each pair of a direct and a deferral ratio",
        ),
        ({"deferralRatios": [0, 1, 0.5]}, "deferralRatios: must rise, each named once"),
        ({"directRatios": [0, 0]}, "directRatios: must rise, each named once"),
        ({"measures": {"score": [1.0]}}, "measures: each has as many numbers as quality"),
        ({"heavy": "light"}, "a single tier has ratios of 0"),
        ({"heavy": "nobody"}, "cascades.0: no tier is named 'nobody'"),
        ({"light": "heavy", "heavy": "light"}, "cascades.0: light tier 'heavy' comes after heavy tier 'light'"),
        ({"lightCost": -1}, "cascades.0.lightCost"),
    ],
)
def test_a_wrong_grid_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        read([], cascades=[GRID | change])
    assert words in str(caught.value)


def test_a_grid_that_defers_needs_a_discriminator() -> None:
    with pytest.raises(ValueError, match=r"cascades\.0: nothing says which images to defer"):
        read([], cascades=[GRID], discriminator=None)


@pytest.mark.parametrize("revision", ["294955e013", "12e3", "+.5", "0o17", "007", "1_000", "true"])
def test_a_text_that_is_a_number_to_others_is_written_in_quotes(revision: str, tmp_path: Path) -> None:
    """PyYAML reads YAML 1.1, kubectl reads 1.2: there a commit of digits and an e is a number."""
    profile, path = read(grid_rows()), tmp_path / "profile.yaml"
    tiers = tuple(tier.model_copy(update={"revision": revision}) for tier in profile.spec.tiers)
    write_profile(path, profile.model_copy(update={"spec": profile.spec.model_copy(update={"tiers": tiers})}))
    assert f"revision: '{revision}'" in path.read_text()
    assert read_profile(path).spec.tiers[0].revision == revision


def test_files_are_written_compactly_and_read_packed_or_not(tmp_path: Path) -> None:
    profile, path = read(grid_rows()), tmp_path / "profile.yaml"
    write_profile(path, profile)
    assert "cascades" in yaml.safe_load(path.read_text())["spec"]
    assert content_hash(read_profile(path)) == content_hash(profile)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert content_hash(read_profile(path)) == content_hash(profile)
    path.write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_profile(path)


@pytest.mark.parametrize(
    "example", ["examples/scenes.yaml", "examples/engines.yaml", "examples/kubernetes/scenes.yaml"]
)
def test_a_profile_is_known_by_one_hash_in_either_form(example: str) -> None:
    """The operator has the one, and routers read the other: a new profile is tried by the hash."""
    profile = read_manifest(ROOT / example).profile
    again = CascadeProfile.read(compact_document(profile))
    assert content_hash(again) == content_hash(profile)
    assert content_hash(CascadeProfile.read(compact_document(again))) == content_hash(profile)
