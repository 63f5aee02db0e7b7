"""Stage images: what was generated is kept, and what went wrong is one clear message."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hadis.api.tier import Tier
from hadis.protocol.worker import ErrorCode, GenerateBatch, JobResult
from hadis_profiler.offline import images, store
from hadis_profiler.offline.spec import Run, SpecError
from PIL import Image
from profiler_runs import many_prompts, run_of
from rich.progress import Progress


class FaultyEngine:
    """An engine whose images are faulty from the eleventh on."""

    fault = "the model made an image that is not a number (NaN)"
    code: ErrorCode = "failed"

    def __init__(self, *_: object, **__: object) -> None:
        self.made = 0

    def generate(self, batch: GenerateBatch) -> list[tuple[JobResult, Image.Image | None]]:
        """Return one image per job, or the fault."""
        results: list[tuple[JobResult, Image.Image | None]] = []
        for job in batch.jobs:
            self.made += 1
            if self.made > 10:
                results.append((JobResult(id=job.id, error=self.fault, error_code=self.code), None))
            else:
                results.append((JobResult(id=job.id), Image.new("RGB", (8, 8))))
        return results


@pytest.fixture(autouse=True)
def faulty_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "Engine", FaultyEngine)
    monkeypatch.setattr(images, "load_painter", lambda *_: None)


def generate(run: Run, texts: list[str]) -> None:
    with Progress(disable=True) as progress:
        images.generate_all(run, texts, "cpu", {"a": 4}, progress, lambda text: None)


def test_a_tier_that_fails_is_named_and_what_it_made_is_kept(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    with pytest.raises(images.ImageError, match=r"tier a, prompt 10 .*NaN\); try another dtype"):
        generate(run, many_prompts())
    assert len(list((run.work / "images/a").rglob("[0-9]*.png"))) == 10
    with pytest.raises(SpecError, match="other settings or prompts"):
        generate(run, many_prompts(61))
    with pytest.raises(images.ImageError, match="prompt 20 "):  # it went on where it was
        generate(run, many_prompts())


class FilteringEngine:
    """An engine that filters images of some prompts, and notes what it makes."""

    filters: ClassVar[set[str]] = set()
    made: ClassVar[list[str]] = []

    def __init__(self, tiers: Sequence[Tier], *_: object, **__: object) -> None:
        self.tier = tiers[0].name

    def generate(self, batch: GenerateBatch) -> list[tuple[JobResult, Image.Image | None]]:
        """Return one image per job, of the colour of its number, or that it was filtered."""
        results: list[tuple[JobResult, Image.Image | None]] = []
        for job in batch.jobs:
            self.made.append(f"{self.tier}{job.id}")
            if f"{self.tier}{job.id}" in self.filters:
                results.append((JobResult(id=job.id, error="filtered", error_code="content_filtered"), None))
            else:
                results.append((JobResult(id=job.id), Image.new("RGB", (8, 8), (int(job.id), 0, 0))))
        return results


def test_a_prompt_whose_image_is_filtered_is_left_out_of_every_tier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "Engine", FilteringEngine)
    monkeypatch.setattr(FilteringEngine, "filters", {"a10", "a11", "b30"})
    run, said, made = run_of(tmp_path), list[str](), list[str]()
    monkeypatch.setattr(FilteringEngine, "made", made)
    for _ in range(2):  # the second time nothing is left to make
        with Progress(disable=True) as progress:
            images.generate_all(run, many_prompts(), "cpu", {"a": 4}, progress, said.append)
    assert len(made) == len(set(made)) == 60 + 58
    assert said[0].endswith("images/a; 2 were filtered")
    kept = images.kept(run, many_prompts())
    assert len(kept) == 57
    for tier in run.spec.tiers:
        colours = [image.getpixel((0, 0)) for image in images.read_images(run, tier, range(57))]
        assert [f"a picture of {red} cats" for red, _, _ in colours] == kept  # type: ignore[misc]


def test_a_run_whose_prompts_are_mostly_filtered_ends_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyEngine, "code", "content_filtered")
    words = "tier a: by now safety checkers filtered 10 of 60 prompts, over 10%; leave them out"
    for _ in range(2):  # nor does it go through when it is run again
        with pytest.raises(images.ImageError, match=words):
            generate(run_of(tmp_path), many_prompts())


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = store.write

    def full(path: Path, data: bytes) -> None:
        if path.name == "000003.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(store, "write", full)
    run = run_of(tmp_path)
    with pytest.raises(images.ImageError, match=r"No space left on device; what was generated is kept"):
        generate(run, many_prompts())
    assert len(list((run.work / "images/a").rglob("[0-9]*.png"))) == 3


def test_an_image_that_is_broken_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    store.write(images.path_of(run.work / "images/a", 0), b"no picture")
    with pytest.raises(images.ImageError, match="delete it"):
        list(images.read_images(run, run.spec.tiers[0], [0]))
