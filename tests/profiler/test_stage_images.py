"""Stage images: what was generated is kept, and what went wrong is one clear message."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
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


def test_a_filtered_image_ends_the_run_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaultyEngine, "code", "content_filtered")
    with pytest.raises(images.ImageError, match=r"tier a, prompt 10 .*; leave the prompt out"):
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
