"""Prompts are read from every kind of file, and split into sets of which nothing is in two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hadis_profiler.offline.prompts import read_prompts, split
from hadis_profiler.offline.spec import SpecError
from profiler_runs import many_prompts, run_of


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet", "json"])
def test_prompts_of_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path, texts = tmp_path / f"p.{kind}", many_prompts()
    if kind == "txt":
        path.write_text("\n".join([*texts, "", texts[0], "x" * 20_000, "  a   picture of 3 cats "]))
    elif kind == "csv":
        path.write_text("id,caption\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts)))
    elif kind == "json":
        notes = [{"image_id": i // 2, "caption": text} for i, text in enumerate(many_prompts(120))]
        path.write_text(json.dumps({"annotations": notes}))
        texts = many_prompts(120)[::2]
    else:
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        parquet.write_table(arrow.table({"prompt": texts}), path)
    prompts = read_prompts(run_of(tmp_path, path.name))
    assert prompts.texts == texts
    if kind == "txt":
        assert "1 empty, 1 of over 10,000 characters, 2 repeated" in prompts.note


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("p.txt", b"too few", "50 are the least"),
        ("p.txt", b"\xff\xfe broken", "write it as UTF-8"),
        ("p.csv", b"a,b\n1,2\n", "has no column prompt; it has a, b"),
        ("p.json", b"{}", "no COCO captions"),
        ("p.json", b"{", "broken"),
        ("missing.txt", None, "cannot be read"),
    ],
)
def test_prompts_that_cannot_be_used(tmp_path: Path, name: str, body: bytes | None, message: str) -> None:
    if body is not None:
        (tmp_path / name).write_bytes(body)
    with pytest.raises(SpecError, match=message):
        read_prompts(run_of(tmp_path, name))


def test_nothing_is_trained_on_what_is_measured() -> None:
    parts = split(1000, 7)
    sets = [set(part.tolist()) for part in (parts.train, parts.calibrate, parts.test)]
    assert [len(s) for s in sets] == [400, 100, 500]
    assert len(set.union(*sets)) == 1000
    assert (split(1000, 7).test == parts.test).all()
