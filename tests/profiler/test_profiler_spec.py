"""A wrong spec is one clear message, and no stale result of a stage is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from hadis_profiler.offline import store
from hadis_profiler.offline.spec import SpecError, read_run

TWO_TIERS = "tiers: [{name: a, model: x, steps: 1}, {name: b, model: y, steps: 1}]\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tierz: []", "did you mean 'tiers'"),
        ("batches: [2, 4]", "must rise from 1"),
        ("tiers: [{name: a, model: x, steps: 1}, {name: b, model: x, steps: 1}]", "a and b are the same model"),
        ("tiers: [{name: a, model: x, steps: 1}]", "tiers"),
        ("count: 3", "count"),
        ("- a list", "no YAML"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path: Path, change: str, message: str) -> None:
    tiers = "" if change.startswith("tiers") else TWO_TIERS
    (tmp_path / "spec.yaml").write_text(f"name: t\nprompts: p.txt\n{tiers}{change}\n")
    with pytest.raises(SpecError, match=message):
        read_run(tmp_path / "spec.yaml", tmp_path)


def test_a_result_of_other_inputs_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    store.save(path, store.mark("a"), [1])
    assert store.load(path, store.mark("a")) == [1]
    assert store.load(path, store.mark("b")) is None
    path.write_text("{cut")
    assert store.load(path, store.mark("a")) is None
