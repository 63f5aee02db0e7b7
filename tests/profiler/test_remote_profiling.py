"""The profiler measures a remote tier, and has its images made, through the worker's own engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from hadis.api.edits import Edits
from hadis.api.tier import TierSettings
from hadis.protocol.worker import TierAbility
from hadis_profiler.offline import engines, images, latency
from hadis_profiler.offline.images import ImageError
from hadis_profiler.offline.latency import TierLatency
from hadis_profiler.offline.spec import Run
from hadis_worker.errors import EngineUnavailable, LoadError
from hadis_worker.remote_engine import RemoteEngine
from profiler_runs import many_prompts, run_of
from rich.progress import Progress
from stand_in import StandIn, refusal


def remote_run(folder: Path, **remote: Any) -> Run:
    tiers = [
        {
            "name": name,
            "model": name,
            "steps": 1,
            "size": "32x32",
            "remote": {"url": "http://e/v1", "slots": 1} | remote,
        }
        for name in ("a", "b")
    ]
    return run_of(folder, tiers=tiers, batches=[1, 2], secondsPerPoint="100ms", count=50)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """An endpoint that every remote engine reaches."""
    made = StandIn()

    def engine(tier: TierSettings) -> RemoteEngine:
        return RemoteEngine([engines.as_tier(tier)], transport=httpx.ASGITransport(made.app))

    monkeypatch.setattr(engines, "remote_engine", engine)
    monkeypatch.setattr(images, "remote_engine", engine)
    return made


def measured(run: Run) -> dict[str, TierLatency]:
    with Progress(disable=True) as progress:
        return latency.measure(run, "cpu", progress, lambda text: None)


def test_batches_are_images_asked_for_at_once_with_seeds_of_their_own(tmp_path: Path, stand_in: StandIn) -> None:
    by_tier = measured(remote_run(tmp_path, accepts=["seed", "negative_prompt"]))
    assert [point.batch for point in by_tier["a"].points] == [1, 2]
    assert by_tier["a"].negative_prompts is True
    assert by_tier["a"].points[0].memory_bytes == 0
    assert stand_in.most_at_once == 2
    seeds = [body["seed"] for body in stand_in.bodies if body["model"] == "a"]
    assert len(set(seeds)) == len(seeds)


def test_an_endpoint_that_fails_is_one_line_that_names_the_tier(tmp_path: Path, stand_in: StandIn) -> None:
    stand_in.then = refusal(400, message="size must be 1024x1024")
    with pytest.raises(
        LoadError, match="tier a: a batch of 1 failed: the endpoint of tier a answers with status 400: si"
    ):
        measured(remote_run(tmp_path))
    stand_in.then = refusal(404)
    with pytest.raises(LoadError, match=r"tier a: a batch of 1 failed: .*status 404"):
        measured(remote_run(tmp_path))


def test_a_batch_that_the_endpoint_does_not_take_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Limited:
        ability = TierAbility(negative_prompts=False, edits=Edits(images=0))
        weight_bytes: dict[str, int] = {}

        def make(self, size: str, batch: int) -> None:
            if batch > 1:
                raise EngineUnavailable("it is overloaded (status 429)")

        def depend_on_company(self, size: str) -> bool:
            return False

    monkeypatch.setattr(latency, "batches_of", lambda *_: Limited())
    by_tier = measured(remote_run(tmp_path))
    assert [point.batch for point in by_tier["a"].points] == [1]
    assert by_tier["a"].end == "; the endpoint takes no batch of 2: it is overloaded (status 429)"


def test_images_beside_one_that_was_refused_are_kept(tmp_path: Path, stand_in: StandIn) -> None:
    run = remote_run(tmp_path)
    stand_in.coming.extend([stand_in.then, refusal(400, "content_policy_violation"), stand_in.then, stand_in.then])
    with Progress(disable=True) as progress:
        images.generate_all(run, many_prompts(50), "cpu", {"a": 4, "b": 4}, progress, lambda text: None)
    assert images.left_out(run) == {1}
    made = sorted(int(path.stem) for path in (run.work / "images/b").rglob("[0-9]*.png"))
    assert made == [0, *range(2, 50)]


def test_a_key_that_is_missing_is_told_before_anything_is_measured(
    tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENGINE_KEY", raising=False)
    with pytest.raises(ValueError, match="ENGINE_KEY: must be set to the API key of the endpoint of tier a"):
        measured(remote_run(tmp_path, apiKeyEnv="ENGINE_KEY"))
    assert stand_in.bodies == []


def test_images_are_made_with_the_runs_seeds_and_a_run_goes_on_where_the_endpoint_went_away(
    tmp_path: Path, stand_in: StandIn
) -> None:
    run, prompts = remote_run(tmp_path), many_prompts(50)

    def generate(run: Run) -> None:
        with Progress(disable=True) as progress:
            images.generate_all(run, prompts, "cpu", {"a": 4, "b": 4}, progress, lambda text: None)

    stand_in.coming.extend([stand_in.then] * 8)
    stand_in.then = refusal(502)
    with pytest.raises(ImageError, match=r"the endpoint of tier a answers with status 502.*; run it again later"):
        generate(run)
    assert len(list((run.work / "images/a").rglob("[0-9]*.png"))) == 8
    stand_in.then = StandIn().then
    stand_in.bodies.clear()
    generate(remote_run(tmp_path, slots=4))  # which no image depends on
    assert [body["seed"] for body in stand_in.bodies if body["model"] == "a"] == list(range(8, 50))
    [image] = images.read_images(run, run.spec.tiers[0], [7])
    assert image.getpixel((0, 0)) == (7, 30, 30)
