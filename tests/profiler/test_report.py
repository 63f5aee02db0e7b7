"""The report stands alone, escapes its texts, and has no empty column for the shipped profile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hadis.api.manifest import read_profile
from hadis.planning.profile import Profile
from hadis_profiler.offline.notes import (
    CalibrationBin,
    DifficultyNote,
    DiscriminatorNote,
    LatencyNote,
    Notes,
    Sample,
    SampleImage,
    notes_path,
    read_notes,
    small_copy,
)
from hadis_profiler.offline.report import write_report
from PIL import Image

SHIPPED = Path(__file__).parents[2] / "examples/scenes/profile.yaml"


def notes() -> Notes:
    image = SampleImage(tier="<b>", confidence=0.1, uri=small_copy(Image.new("RGB", (8, 8))))
    return Notes(
        latency={"light": (LatencyNote(batch=1, p95_s=1.1, runs=9),)},
        difficulty=DifficultyNote(
            held_out=0.01, noise=0.1, held_out_by_information=0.0, low=0.0, high=1.0, histogram=(1, 2)
        ),
        discriminator=DiscriminatorNote(
            auc=0.7, good_share=0.5, calibration=(CalibrationBin(confidence=0.1, good=0.2, images=5),)
        ),
        samples=(Sample(prompt="<script>alert(1)</script>", images=(image,)),),
    )


def test_a_report_stands_alone_and_escapes_its_texts(tmp_path: Path, profile: Profile) -> None:
    write_report(profile, notes(), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "The text predicts nothing here" in text
    assert "<script" not in text
    assert "<b>" not in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_notes_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = notes_path(tmp_path / "profile.yaml")
    assert read_notes(path) is None
    notes().write(path)
    assert read_notes(path) == notes()
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"profile\.notes\.json: does not hold the notes"):
        read_notes(path)


def test_copies_of_large_images_are_small() -> None:
    noise = Image.effect_noise((1024, 512), 90)
    assert small_copy(noise).startswith("data:image/webp;base64,")
    assert len(small_copy(noise)) < 60_000
    assert small_copy(Image.new("RGB", (32, 32))).startswith("data:image/png;base64,")


def test_the_shipped_profiles_report_has_no_empty_column_and_shows_calibration_and_images(tmp_path: Path) -> None:
    write_report(Profile(read_profile(SHIPPED)), read_notes(notes_path(SHIPPED)), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]
    rows = [row for row in rows if len(row) == 9]  # of the front
    assert len(rows) > 5
    for column in range(len(rows[0])):
        assert any(row[column] not in ("", "–") for row in rows), column
    assert all("<small>" in row[7] for row in rows)  # an interval for every quality
    assert all(row[8] != "–" for row in rows if row[1] != "–")  # a random baseline for every pair
    assert "calibration of the discriminator" in text
    assert text.count('src="data:image/png;base64,') == 6 * 4
