"""The run folder of `hadis up`: what was learnt outlives a run, and what is of no use is said to be left out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from documents import router_status
from hadis.api.resources import ServiceSpec
from hadis.cli.control_loop import ControlLoop
from hadis.cli.local_workers import LocalWorkers
from hadis.cli.run_folder import STATE_FILE, remembered, run_folder
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, write_state
from virtual import virtual

RATIOS = {"light": {1: 2.0, 4: 1.5}}


class Said(list[str]):
    """What people are told."""

    def __call__(self, text: str, **_: object) -> None:
        self.append(text)


def test_a_service_finds_its_folder_again_and_another_one_has_another(tmp_path: Path) -> None:
    said, variables = Said(), {"XDG_STATE_HOME": str(tmp_path / "state")}
    folders = []
    for manifest, port in (("a/m.yaml", 8080), ("a/m.yaml", 8080), ("b/m.yaml", 8080), ("a/m.yaml", 8081)):
        with run_folder(tmp_path / manifest, port, variables, said) as folder:
            assert folder.is_dir()
            folders.append(folder)
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3
    assert said == []
    assert folders[0].is_dir(), "also once it has ended"


def test_where_nothing_can_be_kept_it_runs_all_the_same_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = Said()
    with run_folder(tmp_path / "m.yaml", 8080, {"XDG_STATE_HOME": str(tmp_path / "file")}, said) as folder:
        (folder / STATE_FILE).touch()
    assert not folder.exists()
    assert len(said) == 1
    assert "is not kept" in said[0]
    assert "XDG_STATE_HOME" in said[0]


def test_a_run_goes_on_from_what_was_learnt_before(tmp_path: Path, profile: Profile) -> None:
    write_state(tmp_path / STATE_FILE, RunState(None, (), batch_time_ratios=RATIOS, profile_hash=profile.hash))
    said = Said()
    assert remembered(tmp_path, profile, said) == Memory(ratios=RATIOS, profile_hash=profile.hash)
    assert said == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ""),
        ('{"plan": null, "workers": [], "batch_time_ratios": {"light": {"1": 2}}, "profile_hash": "x"}', "profile x"),
        ('{"version": 99, "plans": []}', "no run state"),
        ("{broken", "no run state"),
    ],
)
def test_a_state_of_another_version_or_profile_is_left_out(
    text: str | None, words: str, tmp_path: Path, profile: Profile
) -> None:
    if text is not None:
        (tmp_path / STATE_FILE).write_text(text)
    said = Said()
    assert remembered(tmp_path, profile, said) == Memory()
    assert len(said) == bool(words)
    assert all("what was learnt before is left out" in line and words in line for line in said)


@virtual
async def test_what_one_run_learns_the_next_one_plans_with(tmp_path: Path, profile: Profile) -> None:
    spec = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 1}})
    status = router_status(batch_time_ratios=RATIOS).json_text()
    async with (
        asyncio.TaskGroup() as tasks,
        httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=status))) as http,
    ):
        workers = LocalWorkers({}, [], tasks, print, lambda: None)
        loop = ControlLoop(spec, profile, workers, "http://router", tmp_path / STATE_FILE, Said(), asyncio.Event())
        await loop.step(http)
    assert remembered(tmp_path, profile, Said()).ratios == loop.memory.ratios == RATIOS
