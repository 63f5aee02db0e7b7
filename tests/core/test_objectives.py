"""What plans are judged by; that one more objective takes a criterion and its name, and nothing in who plans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile, Objective, Optimize
from hadis.planning.objectives import CRITERIA, Cost, Criterion, Energy, FeasibleRow, Money, Quality, criterion
from hadis.planning.placement import placement
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.queueing import Array
from hadis.planning.routing import Route, Routing, cached_routing
from hadis.planning.scaling import Scaling
from hadis.planning.solve import Solver
from hadis.planning.table import Table
from hadis.planning.tuning import Tuning
from numpy.typing import NDArray

MEASURED = Tuning(refine=1)
GOAL = 25.0
JOULES = {"light": 20.0, "heavy": 900.0, "frugal": 300.0}
"""Per image: the frugal tier is as good as the heavy one and takes twice its time, at a third of its energy."""


def tier(name: str, seconds: float, joules: float | None) -> dict[str, Any]:
    points: list[dict[str, Any]] = [{"batch": b, "seconds": seconds * b} for b in (1, 2, 4)]
    if joules is not None:
        points = [{**point, "joules": joules * point["batch"]} for point in points]
    return {"name": name, "model": name, "steps": 1, "latency": points}


def profile_of(joules: dict[str, float | None], tiers: list[dict[str, Any]] | None = None) -> Profile:
    """Return a profile of the light tier with each of the other two, over a grid of ratios."""
    seconds = {"light": 0.1, "heavy": 0.5, "frugal": 1.0}
    tiers = tiers or [tier(name, seconds[name], joules[name]) for name in seconds]
    rows = [
        {
            "light": "light",
            "heavy": heavy,
            "directRatio": x / 4,
            "deferralRatio": y / 4,
            "quality": 30 - 2 * x - y * (4 - x) / 4 + worse,
            "cost": 1.0,
        }
        for heavy, worse in (("heavy", 0.0), ("frugal", 0.05))
        for x in range(5)
        for y in range(5)
    ]
    return Profile(CascadeProfile.read(profile_document(tiers=tiers, configurations=rows)))


@dataclass(frozen=True)
class Thrift(Criterion):
    """The least energy per image that reaches a quality: an objective that is not in the product."""

    quality: float

    def values(self, table: Table) -> Array:
        """Order by energy what is acceptable, and the rest behind it by quality."""
        good = self.acceptable(table)
        return np.where(good, table.energy_j, table.energy_j[good].max(initial=0.0) + table.quality)

    def acceptable(self, table: Table) -> NDArray[np.bool_]:
        """Accept what reaches the quality and whose energy was measured."""
        return (table.quality <= self.quality) & np.isfinite(table.energy_j)

    def reason(self, *, acceptable: bool) -> str:
        """Say whether the quality is reached."""
        return "least energy" if acceptable else "quality cannot be reached"


@pytest.fixture
def energy() -> Iterator[Objective]:
    """The objective as a manifest would say it. An enum takes no new member at run time, so a string stands for one."""
    name = cast(Optimize, "Thrift")
    CRITERIA[name] = lambda objective: Thrift(objective.quality or 0.0)
    yield Objective(latency="4s", quality=GOAL).model_copy(update={"optimize": name})
    del CRITERIA[name]


def joules_of(light: str, heavy: str, direct: float, deferral: float) -> float:
    return (1 - direct) * JOULES[light] + (direct + (1 - direct) * deferral) * JOULES[heavy]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("demand", "gpus"), [(0.5, 2), (1.0, 4), (3.0, 4), (3.0, 8), (9.0, 8)])
def test_the_solver_takes_an_objective_that_it_does_not_know(
    energy: Objective, shared: bool, demand: float, gpus: int
) -> None:
    profile = profile_of({**JOULES})
    plan = Solver(profile, energy, shared=shared, tuning=MEASURED).solve(demand, gpus)
    table = Table(profile, 4.0)
    rows = np.arange(len(table.quality))
    feasible = placement(table, 0.01, shared=shared).feasible(rows, demand, gpus)
    options = [table.row(i) for i in rows[feasible]]
    reaching = [joules_of(*row[:4]) for row in options if row[4] <= GOAL]
    if reaching:
        assert joules_of(plan.light, plan.heavy, plan.direct_ratio, plan.deferral_ratio) == pytest.approx(min(reaching))
        assert plan.quality <= GOAL
        assert plan.reason.startswith("least energy")
    else:
        assert plan.quality == min(row[4] for row in options)
        assert plan.reason.startswith("quality cannot be reached")


def test_each_objective_takes_another_plan_where_it_can(energy: Objective) -> None:
    profile = profile_of({**JOULES})
    objectives = [Objective(latency="4s"), Objective(latency="4s", optimize="Cost", quality=GOAL), energy]
    best, cheap, frugal = (
        Solver(profile, objective, shared=True, tuning=MEASURED).solve(6.0, 8) for objective in objectives
    )
    assert best.quality < min(cheap.quality, frugal.quality)
    assert cheap.gpus < min(best.gpus, frugal.gpus)
    assert (cheap.heavy, frugal.heavy) == ("heavy", "frugal")


def test_a_plan_is_kept_by_the_objectives_own_measure(energy: Objective) -> None:
    profile = profile_of({**JOULES})
    solver = Solver(profile, energy, shared=True, tuning=MEASURED)
    by_quality = Solver(profile, Objective(latency="4s"), shared=True, tuning=MEASURED).solve(2.0, 8)
    left = solver.solve(2.0, 8, 0, by_quality)
    assert left.heavy == "frugal"
    assert not left.reason.startswith("kept")
    # With a gain that no row can promise everything that is acceptable is kept, be its quality better or worse.
    lazy = Solver(profile, energy, shared=True, tuning=replace(MEASURED, switch_gain=1.0))
    assert lazy.solve(2.0, 8, 0, by_quality).reason.startswith("kept")


@pytest.mark.parametrize("shared", [True, False])
def test_routing_takes_an_objective_that_it_does_not_know(energy: Objective, shared: bool) -> None:
    profile = profile_of({**JOULES})
    table = Table(profile, 4.0)
    ready = dict.fromkeys(table.names, 8)
    for objective, heavy in ((Objective(latency="4s"), "heavy"), (energy, "frugal")):
        route = Routing(table, criterion(objective), shared=shared, every_s=2.0).choose(1.0, ready, {}, None)
        assert route is not None
        assert table.row(route.row)[1] == heavy
    # Too much demand for the quality: the best quality that is left.
    routes = [
        Routing(table, rule, shared=shared, every_s=2.0).choose(60.0, ready, {}, None)
        for rule in (Quality(), criterion(energy))
    ]
    assert routes[0] is not None
    assert routes[0] == routes[1]
    assert table.quality[routes[0].row] > GOAL


def test_scaling_takes_an_objective_that_it_does_not_know(energy: Objective) -> None:
    table = Table(profile_of({**JOULES}), 4.0)
    quality, cost, frugal = (
        Scaling(Routing(table, rule, shared=False, every_s=2.0)) for rule in (Quality(), Cost(GOAL), criterion(energy))
    )
    hungry, sparing = {"light": 1, "heavy": 6, "frugal": 1}, {"light": 1, "heavy": 1, "frugal": 6}
    assert quality.move(6.0, hungry, hungry, {}) == cost.move(6.0, hungry, hungry, {}) == hungry
    assert frugal.move(6.0, hungry, hungry, {})["frugal"] > 1
    assert frugal.move(6.0, sparing, sparing, {}) == sparing
    assert quality.move(6.0, sparing, sparing, {})["heavy"] > 1
    assert quality.resize(2.0, sparing, 5)["heavy"] == 1
    assert frugal.resize(2.0, sparing, 5)["heavy"] == 0


def objective_of(optimize: str) -> Objective:
    return Objective.model_validate({"latency": "4s", "optimize": optimize, "quality": GOAL, "gpuPrice": 0.8})


def test_every_objective_of_the_api_has_a_criterion() -> None:
    assert set(CRITERIA) == set(Optimize)
    assert criterion(Objective(latency="4s", quality=GOAL)) == Quality()
    for kind in (Cost, Energy, Money):
        assert criterion(objective_of(kind.__name__)) == kind(GOAL)


@pytest.mark.parametrize("optimize", Optimize)
def test_values_are_as_routing_and_scaling_need_them(optimize: Optimize) -> None:
    table = Table(profile_of({**JOULES}), 4.0)
    rule = criterion(objective_of(optimize))
    values, good = rule.values(table), rule.acceptable(table)
    assert np.isfinite(values).all()
    assert (values > 0).all()
    assert values[good].max() < values[~good].min(initial=np.inf)
    same = cached_routing(table, replace(cast(Any, rule)), shared=True, every_s=2.0)
    assert cached_routing(table, rule, shared=True, every_s=2.0) is same


def test_by_energy_a_much_better_quality_is_not_lost_in_joules() -> None:
    table = Table(profile_of({name: 1000 * joules for name, joules in JOULES.items()}), 4.0)
    rule = Energy(float(np.median(table.quality)))
    short = ~rule.acceptable(table)
    values, quality = rule.values(table)[short], table.quality[short]
    assert values.max() / values.min() - 1 > 0.3 * (quality.max() / quality.min() - 1), "they are compared by shares"


def candidate(value: float, acceptable: bool = True, gpus: int = 4) -> FeasibleRow:
    return FeasibleRow(value, acceptable, lambda: gpus)


@pytest.mark.parametrize(
    ("rule", "new", "current", "better"),
    [
        (Quality(), candidate(19.7), candidate(20), True),
        (Quality(), candidate(19.9), candidate(20), False),  # within the noise
        (Quality(), candidate(19.7, gpus=9), candidate(20, gpus=1), True),
        (Cost(25), candidate(20), candidate(24), False),  # better than was asked for
        (Cost(25), candidate(24, gpus=3), candidate(20, gpus=4), True),
        (Cost(25), candidate(24, gpus=5), candidate(26, acceptable=False), True),
        (Cost(25), candidate(26, acceptable=False), candidate(26, acceptable=False), False),
        (Cost(25), candidate(26, acceptable=False), candidate(27, acceptable=False), True),
        (Energy(25), candidate(199.5), candidate(200), False),
        (Energy(25), candidate(100), candidate(200), True),
        (Money(25), candidate(24, gpus=3), candidate(20, gpus=4), True),
        (Thrift(25), candidate(200), candidate(100, acceptable=False), True),
    ],
)
def test_which_plan_is_better(rule: Criterion, new: FeasibleRow, current: FeasibleRow, better: bool) -> None:
    assert rule.better(new, current, 0.01) is better


def test_the_table_tells_the_energy_of_each_row() -> None:
    table = Table(profile_of({**JOULES}), 4.0)
    rows = [joules_of(*table.row(i)[:4]) for i in range(len(table.quality))]
    assert table.energy_j.tolist() == pytest.approx(rows)


def test_the_discriminator_draws_the_power_of_its_tier() -> None:
    tiers = [{**tier("light", 0.1, 20.0), "discriminatorSeconds": 0.1}, tier("heavy", 1.0, 900.0)]
    table = Table(Profile(CascadeProfile.read(profile_document(tiers=tiers))), 4.0)
    nothing, some = (table.find("light", "heavy", 0.0, deferral) for deferral in (0.0, 0.25))
    assert table.energy_j[nothing] == pytest.approx(20)
    assert table.energy_j[some] == pytest.approx(20 * (0.4 + 0.1) / 0.4 + 0.25 * 900)  # batches of 4


def test_energy_that_was_not_measured_is_infinite_where_it_matters() -> None:
    table = Table(profile_of({**JOULES, "heavy": None}), 4.0)
    unknown = (table.heavy == table.names.index("heavy")) & (table.heavy_share > 0)
    assert np.isinf(table.energy_j[unknown]).all()
    assert np.isfinite(table.energy_j[~unknown]).all()
    # No batch of the frugal tier keeps an SLO of half its time: there is nothing that takes that energy.
    short = Table(profile_of({**JOULES}), 0.5)
    assert np.isinf(short.energy_j[(short.heavy == short.names.index("frugal")) & (short.heavy_share > 0)]).all()


def route_of(tuning: Tuning, queued_s: float = 0.0, former: Plan | None = None) -> tuple[Table, Route]:
    """Return what routes 20 requests/s on 8 shared GPUs, in a profile whose larger batches pay."""
    tiers = [tier("light", 0.1, None), tier("heavy", 0.5, None), tier("frugal", 1.0, None)]
    for document in tiers:
        for point in document["latency"]:
            point["seconds"] *= (point["batch"] + 1) / (2 * point["batch"])
    table = Table(profile_of({**JOULES}, tiers), 4.0)
    route = Routing(table, Quality(), shared=True, every_s=2.0, tuning=tuning).choose(
        20.0, dict.fromkeys(table.names, 8), {"heavy": queued_s}, former
    )
    assert route is not None
    return table, route


def test_routing_follows_its_tuning() -> None:
    table, usual = route_of(Tuning())
    assert route_of(Tuning(wait_reserve=0.8))[1].heavy_batch < usual.heavy_batch
    assert route_of(Tuning(near_best_batch=10.0))[1].heavy_batch == 1
    batch_s = table.heavy_s[usual.row][table.batches.tolist().index(usual.heavy_batch)]
    assert route_of(Tuning(target_wait=0.0))[1].heavy_latency_s == batch_s < usual.heavy_latency_s
    behind = route_of(Tuning(), queued_s=40.0)[1]
    assert table.quality[behind.row] > table.quality[usual.row]
    assert route_of(Tuning(queue_horizon_slos=1e9), queued_s=40.0)[1].row == usual.row
    assert route_of(Tuning(least_spare=1.0), queued_s=40.0)[1].row == usual.row
    assert table.row(usual.row)[1] == "heavy"
    former = Plan("light", "frugal", 1.0, 1.0, (), 20.0, 25.0, 1.0, 2.0)
    lazy = route_of(Tuning(pair_gain=0.5), former=former)[1]
    assert table.row(lazy.row)[1] == "frugal"


def test_a_row_that_is_kept_within_the_dead_band_is_no_lack_of_gpus(profile: Profile) -> None:
    table, ready = Table(profile, 4.0), {"light": 2, "heavy": 2}
    routing = Routing(table, Quality(), shared=True, every_s=2.0)
    row = table.find("light", "heavy", 0.5, 0.0)
    assert row is not None
    former = Plan("light", "heavy", 0.5, 0.0, (), 4.0, 26.0, 1.0, 2.0)
    load = 0.5 * 0.1 + 0.5 * 1.0
    spare = 2 + 2 * 0.25 * (4 - 1.0) / 5  # the queue may grow to its target within the horizon of 5 s
    for share, kept in ((1.045, True), (1.055, False)):  # half a batch in the horizon on two GPUs is a twentieth
        route = routing.choose(share * spare / load, ready, {}, former)
        assert route is not None
        assert (route.row == row, route.keeps_up) == (kept, True)


def test_a_slow_gpu_counts_for_what_it_does_when_gpus_move_or_come(profile: Profile) -> None:
    routing = Routing(Table(profile, 4.0), Quality(), shared=False, every_s=2.0)
    assigned, slow = {"light": 1, "heavy": 3}, {"light": 0.25, "heavy": 1.0}
    scaling, demand_rps = Scaling(routing), 6.0
    assert scaling.move(demand_rps, assigned, assigned, {}) == assigned
    assert scaling.move(demand_rps, assigned, assigned, {}, slow) == {"light": 2, "heavy": 2}
    assert scaling.resize(demand_rps, assigned, 5) == {"light": 1, "heavy": 4}
    assert scaling.resize(demand_rps, assigned, 5, slow) == {"light": 2, "heavy": 3}
    parts, whole = (routing.best_values(demand_rps, np.array([counts]))[0] for counts in ([0.8, 3.0], [1.0, 3.0]))
    assert parts == whole, "0.8 of a GPU is no less than what the light tier needs"


def test_scaling_follows_its_tuning() -> None:
    routing = Routing(Table(profile_of({**JOULES}), 4.0), Quality(), shared=False, every_s=2.0)
    assigned, takes = {"light": 1, "heavy": 1, "frugal": 6}, {"heavy": 5.0}
    assert Scaling(routing).move(6.0, assigned, assigned, takes) == assigned
    patient = Scaling(routing, tuning=Tuning(payback_changes=1000.0))
    assert patient.move(6.0, assigned, assigned, takes)["heavy"] > 1
    assert Scaling(routing).move(6.0, assigned, assigned, {})["heavy"] > 1
    assert Scaling(routing, tuning=Tuning(move_gain=0.9)).move(6.0, assigned, assigned, {}) == assigned
