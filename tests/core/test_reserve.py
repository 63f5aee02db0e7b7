"""Heavy batches that the light reserve lets begin, and the work that routing counts because of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.objectives import Quality
from hadis.planning.profile import Profile
from hadis.planning.reserve import SLACK, longest_s, oldest_done_s
from hadis.planning.routing import Routing
from hadis.planning.table import Table

SLO_S = 4.0


@pytest.mark.parametrize(
    ("batch", "rate_rps", "needy", "done_s"),
    [
        (1, 0.0, True, SLACK),  # it waits for nobody
        (1, 0.0, False, 1.0),
        (4, 2.0, True, 1.5 + SLACK),  # the other three come in 1.5 s
        (4, 2.0, False, 2.5),
        (2, 0.0, False, np.inf),  # the other one never comes
    ],
)
def test_when_the_oldest_job_of_a_batch_is_done(batch: int, rate_rps: float, needy: bool, done_s: float) -> None:
    assert oldest_done_s(1.0, batch, rate_rps, needy, math.inf) == pytest.approx(done_s)


def test_long_batches_are_given_a_tenth_of_the_objective() -> None:
    assert longest_s(1.0, SLO_S) == pytest.approx(1.3)
    assert longest_s(2.0, SLO_S) == pytest.approx(2.4)
    assert longest_s(2.0, math.inf) == pytest.approx(2.6)
    assert oldest_done_s(2.0, 1, 1.0, True, SLO_S) == pytest.approx(2.4)


def table() -> Table:
    """Return one whose heavy batches of 1, 2 and 4 take 1, 1.4 and 2 s."""
    heavy = [{"batch": size, "seconds": seconds} for size, seconds in ((1, 1.0), (2, 1.4), (4, 2.0))]
    document = profile_document()
    document["spec"]["tiers"][1]["latency"] = heavy
    return Table(Profile(CascadeProfile.read(document)), SLO_S)


def heavy_gpus(rps: float, direct: float, deferral: float, *, shared: bool) -> tuple[float, int]:
    """Return the GPU seconds per second of heavy work that are planned at a row, and its largest batch."""
    of = table()
    row = of.find("light", "heavy", direct, deferral)
    assert row is not None
    routing = Routing(of, Only(of, row), shared=shared, every_s=2.0)
    route = routing.choose(rps, {"light": 1000, "heavy": 1000}, {}, None)
    assert route is not None
    assert route.row == row
    return route.heavy_gpus, route.heavy_batch


class Only(Quality):
    """Has one row only that is good."""

    def __init__(self, of: Table, row: int) -> None:
        self._values = np.where(np.arange(len(of.direct)) == row, 1.0, 2.0)

    def values(self, table: Table) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return self._values


@pytest.mark.parametrize(("rate_rps", "size"), [(1000.0, 4), (2.7, 4), (2.3, 2), (0.6, 2), (0.5, 1)])
def test_work_is_counted_in_the_batches_that_begin(rate_rps: float, size: int) -> None:
    """The SLO leaves 3.6 s: a batch of 4, of 2.4 s with slack, 1.2 s; and one of 2, of 1.8 s, as long."""
    seconds = {1: 1.0, 2: 1.4, 4: 2.0}[size]
    gpus, batch = heavy_gpus(rate_rps / 0.5, 0.5, 0.0, shared=True)
    assert gpus == pytest.approx(rate_rps * seconds / size)
    assert batch == 4  # one may still be full


def test_on_dedicated_gpus_batches_are_full_whatever_comes() -> None:
    gpus, _ = heavy_gpus(0.5 / 0.5, 0.5, 0.0, shared=False)
    assert gpus == pytest.approx(0.5 * 2.0 / 4)


def test_deferred_jobs_need_no_slack() -> None:
    """A batch of 4 and a light image of at most 0.2 s leave a second and more for three jobs to come."""
    gpus, _ = heavy_gpus(2.3 / 0.5, 0.0, 0.5, shared=True)
    assert gpus == pytest.approx(2.3 * 2.0 / 4)
