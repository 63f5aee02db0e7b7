"""Energy and money in `hadis replay` and `hadis size`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from documents import profile_document
from hadis.cli import make_app
from typer.testing import CliRunner

JOULES = {"light": 20.0, "heavy": 900.0}


def measured() -> dict[str, object]:
    document = profile_document()
    for tier in document["spec"]["tiers"]:
        for point in tier["latency"]:
            point["joules"] = JOULES[tier["name"]] * point["batch"]
    return document


def invoke(tmp_path: Path, command: str, *options: str, document: object = None) -> tuple[int, str]:
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(document or measured()))
    (tmp_path / "trace.txt").write_text("1000,1\n")
    words = ["--profile", str(tmp_path / "profile.yaml"), "--trace", str(tmp_path / "trace.txt"), "--slo", "60s"]
    result = CliRunner().invoke(make_app(command), [command, *words, *options])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("options", "energy"),
    [((), "900 J per image"), (("--optimize", "Energy", "--quality", "30"), "20 J per image")],
)
def test_a_replay_tells_what_an_image_took(options: tuple[str, ...], energy: str, tmp_path: Path) -> None:
    code, text = invoke(tmp_path, "replay", "--gpus", "2", "--gpu-price", "0.8", *options)
    assert code == 0, text
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.strip()}
    assert lines["energy"] == energy
    per_image, _, per_hour = lines["money"].partition(" per image, ")
    assert per_hour == "1.6 per hour"
    assert float(per_image) * 3600 / 1.6 == pytest.approx(float(lines["speed"].split()[0]), abs=0.6)  # one image


def test_what_is_not_known_is_not_told(tmp_path: Path) -> None:
    code, text = invoke(tmp_path, "replay", "--gpus", "2", document=profile_document())
    assert code == 0, text
    assert "energy" not in text
    assert "money" not in text


def test_size_tells_the_hour_and_the_image(tmp_path: Path) -> None:
    options = ("--quality", "30", "--optimize", "energy", "--gpu-price", "0.8")
    code, text = invoke(tmp_path, "size", *options)
    assert code == 0, text
    assert text.splitlines()[-1].startswith("1 GPU; energy: 20 J per image; money: ")
    assert text.splitlines()[-1].endswith("0.8 per hour")


@pytest.mark.parametrize("command", [("replay", "--gpus", "2"), ("size",)])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--optimize", "Energy"), "needs the joules of each batch"),
        (("--optimize", "Money"), "needs --gpu-price"),
        (("--optimize", "Speed"), "'Speed' is not one of"),
    ],
)
def test_an_objective_that_cannot_be_had_is_refused(
    command: tuple[str, ...], options: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    code, text = invoke(tmp_path, *command, "--quality", "30", *options, document=profile_document())
    assert code == 2
    assert words in " ".join(text.split())
