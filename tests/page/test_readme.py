"""What README and the guide say to paste into a shell ends in a picture file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from page_router import PageRouter
from PIL import Image

ROOT = Path(__file__).parents[2]
CURLS = [
    (path, curl)
    for path in ("README.md", "docs/one-machine.md")
    for curl in re.findall(r"curl -s (?:.+\\\n)+.+> image.png", (ROOT / path).read_text())
]


def test_there_is_one_for_each_reader() -> None:
    assert [path for path, _ in CURLS] == ["README.md", "README.md", "docs/one-machine.md"]


@pytest.mark.parametrize(("path", "curl"), CURLS, ids=[f"{path}-{i}" for i, (path, _) in enumerate(CURLS)])
def test_curl_ends_in_a_picture(path: str, curl: str, router: PageRouter, tmp_path: Path) -> None:
    command = curl.replace("http://127.0.0.1:8080/", router.url)
    assert router.url in command, path
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, timeout=20)
    with Image.open(tmp_path / "image.png") as picture:
        assert picture.size == (64, 64)
