"""Events: which changes of conditions are told, and that they never flood the API server."""

from __future__ import annotations

from typing import Any

import pytest
from fake_kube import FakeKube
from hadis.api.conditions import Condition, condition
from hadis_operator.events import Message, Recorder, changes
from kube_objects import NAMESPACE

EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
SERVING = condition("Ready", True, "Serving", "1 router, 1 worker")
STARTING = condition("Ready", False, "NoWorker", "no worker is ready yet")
WELL = condition("Degraded", False, "AsPlanned", "nothing is wrong")
SLOW = condition("Degraded", True, "SlowWorker", "worker w takes 2.0 times as long as its peers")
LATE = condition("Degraded", True, "NotReady", "worker w has run for 600 s")
SCALING = condition("PlanApplied", False, "Scaling", "1 of 2 workers are ready")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([], [SERVING, WELL], []),
        ([], [STARTING, WELL], [Message("Warning", "NoWorker", "not Ready: no worker is ready yet")]),
        ([STARTING], [SERVING], [Message("Normal", "Serving", "Ready: 1 router, 1 worker")]),
        ([SERVING], [STARTING], [Message("Warning", "NoWorker", "not Ready: no worker is ready yet")]),
        ([SERVING], [SERVING.model_copy(update={"message": "2 routers, 1 worker"})], []),
        ([WELL], [SLOW], [Message("Warning", "SlowWorker", f"Degraded: {SLOW.message}")]),
        ([SLOW], [LATE], [Message("Warning", "NotReady", f"Degraded: {LATE.message}")]),
        ([SLOW], [WELL], [Message("Normal", "AsPlanned", "not Degraded: nothing is wrong")]),
        ([SERVING, WELL], [SERVING, WELL, SCALING], []),
        ([SERVING, WELL], [], []),
    ],
)
def test_what_is_told_of_a_change(before: list[Condition], after: list[Condition], told: list[Message]) -> None:
    assert list(changes(before, after)) == told


class Recording:
    """A Recorder with a clock that a test moves."""

    def __init__(self) -> None:
        self.now_s, self.kube = 0.0, FakeKube()
        self.recorder = Recorder("DiffusionService", NAMESPACE, "images", self.kube, lambda: self.now_s)

    async def record(self, text: str, reason: str = "NoWorker") -> list[tuple[str, Any]]:
        """Tell; return the verbs of the requests and the counts in them."""
        self.kube.requests.clear()
        await self.recorder.record("uid", Message("Warning", reason, text))
        return [(request.verb, (request.body or {}).get("count")) for request in self.kube.requests]


async def test_an_event_names_its_object_and_says_what_is_wrong() -> None:
    recording = Recording()
    await recording.record("no worker")
    (event,) = [item for path, item in recording.kube.objects.items() if path.startswith(EVENTS)]
    about = event["involvedObject"]
    assert (about["kind"], about["name"], about["uid"]) == ("DiffusionService", "images", "uid")
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "NoWorker", "no worker")


async def test_the_same_words_are_one_event_that_is_counted_up_once_per_minute() -> None:
    recording = Recording()
    assert await recording.record("a") == [("create", 1)]
    for _ in range(8):
        assert await recording.record("a") == []
    recording.now_s = 60.0
    assert await recording.record("a") == [("merge", 10)]
    assert await recording.record("a") == []


async def test_an_event_that_has_ended_is_written_anew() -> None:
    recording = Recording()
    await recording.record("a")
    recording.kube.objects.clear()
    recording.now_s = 3600.0
    assert await recording.record("a") == [("merge", 2), ("create", 1)]
    recording.now_s += 60
    assert await recording.record("a") == [("merge", 2)]


async def test_new_words_are_told_no_faster_than_the_budget_fills() -> None:
    recording = Recording()
    written = [bool(await recording.record(f"worker {i}")) for i in range(20)]
    assert written == [True] * 10 + [False] * 10
    recording.now_s = 29.0
    assert await recording.record("x") == []
    recording.now_s = 60.0
    assert [bool(await recording.record(text)) for text in "yzx"] == [True, True, False]


async def test_what_is_remembered_of_events_is_bounded() -> None:
    recording = Recording()
    for i in range(200):
        recording.now_s += 30
        await recording.record(f"worker {i}")
    assert len(recording.recorder._recorded) == 64


async def test_an_event_that_the_api_server_refuses_is_no_error() -> None:
    recording = Recording()
    recording.kube.refuse[EVENTS] = 403
    assert await recording.record("a") == [("create", 1)]
