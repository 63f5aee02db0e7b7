"""The prompts that a service keeps, as a run's prompts: fetched once, told in words where that cannot be."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from hadis_profiler.offline.prompts import read_prompts
from hadis_profiler.offline.spec import Run, RunSpec, SpecError
from hadis_profiler.offline.traffic import kept_prompts

PROMPTS = [f"a red circle\nnumber {i}" for i in range(60)]


def fetch(folder: Path, answer: httpx.Response | Exception, key: str | None = "k") -> tuple[Path, list[str]]:
    said: list[str] = []

    def answered(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://router/v1/hadis/prompts"
        assert request.headers.get("authorization") == (f"Bearer {key}" if key else None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return kept_prompts(folder, "http://router", key, said.append, httpx.MockTransport(answered)), said


def test_they_are_the_prompts_of_the_run(tmp_path: Path) -> None:
    path, said = fetch(tmp_path / "new", httpx.Response(200, json={"seen": 900, "prompts": PROMPTS}))
    assert said == [f"{path}: 60 of the 900 prompts that came"]
    assert path.stat().st_mode & 0o777 == 0o600
    tiers = [{"name": name, "model": name, "steps": 1} for name in ("light", "heavy")]
    spec = RunSpec.read({"name": "two", "tiers": tiers, "prompts": "other.csv", "column": "text"})
    run = Run(spec, tmp_path, tmp_path / "new").with_prompts(path)
    assert read_prompts(run).texts == [prompt.replace("\n", " ") for prompt in PROMPTS]


def test_a_run_that_was_killed_goes_on_with_those_it_had(tmp_path: Path) -> None:
    path, _ = fetch(tmp_path, httpx.Response(200, json={"seen": 1, "prompts": ["first"]}))
    again, said = fetch(tmp_path, httpx.ConnectError("none"))
    assert (again, again.read_text()) == (path, "first\n")
    assert "going on with the prompts" in said[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.ConnectError("refused"), "no router answers"),
        (httpx.Response(403, json={"error": {"message": "may not read prompts"}}), "may not read prompts; give such"),
        (httpx.Response(404, json={"error": {"message": "no prompts are kept"}}), "no prompts are kept"),
        (httpx.Response(200, json={"seen": 0, "prompts": []}), "keeps no prompts yet"),
        (httpx.Response(200, text="hello"), "something else"),
    ],
)
def test_what_goes_wrong_is_said_and_leaves_no_file(
    tmp_path: Path, answer: httpx.Response | Exception, words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        fetch(tmp_path / "new", answer, key=None)
    assert not list(tmp_path.rglob("*.txt"))
