"""Quality watched in service: a sample of the answers is drawn again by the heavy tier, in idle time, and judged.

    answer -> chance -> waits (memory, a few) -> a worker with nothing else to do -> confidence of the heavy image

What is compared with what, `hadis.planning.watched_quality` says. Drawing is the dispatcher's spare work: it gives way
to every request, and is counted apart from demand. Prompts wait here in memory for some minutes and go nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hadis.api.watch import WatchSpec
from hadis.planning.expected_confidence import Range, expected_confidence, mean_confidence
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.watched_quality import LiveQuality, WatchSums, difficulty_edges, live_quality, named_sums
from hadis.protocol.router_status import WatchedQuality, watched_quality
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from hadis_router.dispatch.answer import PATHS, ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.image_params import ImageParams
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.judging import SAMPLED
from hadis_router.dispatch.spare import spare_job

log = logging.getLogger(__name__)

_EVERY_S = 0.5
_AFTER_STOP_S = 10.0
"""Pause after a request came in between: where they come often, idle time is too short to be used."""
_MOST_WAITING, _MOST_JUDGED, _MOST_PROMPTS = 16, 500, 2000
_WAITS_S = 600.0
_MOST_TRIES = 3
_LONGEST_S = 600.0
"""In which a batch has ended, whatever happens: see `Batch.timeout_s`."""
OUTCOMES = ("judged", "stopped", "failed")


@dataclass(slots=True)
class _Sample:
    """An answer that is to be judged."""

    params: ImageParams
    heavy: str
    confidence: float | None
    """Of the light image that was the answer; None where the heavy tier made that."""
    expected: Range
    at: float
    """Loop time."""
    tries: int = 0


class _Judged(NamedTuple):
    """What came of a sample; confidences."""

    answered: float
    expected: Range
    heavy: float
    heavy_profiled: float


class QualityWatch:
    """Samples answers, has them judged, and keeps what came of the latest."""

    def __init__(
        self, spec: WatchSpec | None, profile: Profile, slo_s: float, chance: random.Random | None = None
    ) -> None:
        """`spec` None: nothing is watched. `chance` says which answers are sampled."""
        self._spec, self._profile, self._slo_s = spec, profile, slo_s
        self._chance = chance or random.Random()
        self._plan: Plan | None = None
        self._expected: Range | None = None
        self._edges = difficulty_edges(profile.resource.spec.difficulty.quantiles)
        self._waiting: list[_Sample] = []
        self._judged: deque[_Judged] = deque(maxlen=_MOST_JUDGED)
        self._prompts: deque[int] = deque(maxlen=_MOST_PROMPTS)
        """Of the latest, where their difficulty is among the edges."""
        self.counts: Counter[str] = Counter()
        self.gpu_s = 0.0

    def ended(self, job: Job, how: str, plan: Plan | None) -> None:
        """Take a job that ended (`how`), if its answer is to be judged."""
        if self._spec is None or plan is None or how not in PATHS:
            return
        if job.difficulty is not None:
            self._prompts.append(bisect_left(self._edges, job.difficulty))
        sample = None if self._chosen_by_client(job) else self._sample(job, plan)
        if sample is None:
            return
        few = sample.confidence is not None and not plan.judges(plan.light)  # of which all others cannot be sampled
        if self._chance.random() < self._spec.share * (SAMPLED if few else 1):
            if len(self._waiting) >= _MOST_WAITING:
                del self._waiting[self._chance.randrange(_MOST_WAITING)]
            self._waiting.append(sample)

    async def keep(self, dispatcher: Dispatcher) -> None:
        """Have samples judged as workers are to spare, for ever."""
        while self._spec is not None:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.judge_waiting(dispatcher)
            except Exception:
                log.exception("answers could not be judged; going on")

    async def judge_waiting(self, dispatcher: Dispatcher) -> None:
        """Have what waits judged, until a request comes or no worker is to spare."""
        oldest = asyncio.get_running_loop().time() - _WAITS_S
        self._waiting = [sample for sample in self._waiting if sample.at > oldest]
        while self._waiting:
            sample = self._waiting[0]
            job = spare_job(sample.params, sample.heavy, self._slo_s)
            if not dispatcher.start_spare(job):
                return
            del self._waiting[0]
            outcome = await self._judge(sample, job, dispatcher)
            self.counts[outcome] += 1
            if outcome == "stopped":
                if sample.tries < _MOST_TRIES:
                    self._waiting.append(sample)
                await asyncio.sleep(_AFTER_STOP_S)
                return

    @property
    def sums(self) -> WatchSums:
        """Sums over the latest answers that were judged, and counts of the latest prompts."""
        judged, places = self._judged, Counter(self._prompts)
        return WatchSums(
            images=float(len(judged)),
            answered=sum(each.answered for each in judged),
            answered_squares=sum(each.answered**2 for each in judged),
            low=sum(each.expected.low for each in judged),
            high=sum(each.expected.high for each in judged),
            heavy=sum(each.heavy for each in judged),
            heavy_squares=sum(each.heavy**2 for each in judged),
            heavy_profiled=sum(each.heavy_profiled for each in judged),
            difficulties=tuple(float(places[i]) for i in range(len(self._edges) + 1)),
        )

    def status(self) -> WatchedQuality | None:
        """Return what is seen; None where nothing is watched."""
        return None if self._spec is None else watched_quality(self.sums, self.gpu_s)

    def describe(self) -> list[Metric]:
        """Return nothing: what there is, a scrape says."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        images = CounterMetricFamily(
            "hadis_router_watch_images", "Answers that were sampled to judge quality, by outcome.", labels=["outcome"]
        )
        for outcome in OUTCOMES:
            images.add_metric([outcome], self.counts[outcome])
        yield images
        yield CounterMetricFamily(
            "hadis_router_watch_seconds",
            "GPU seconds that judging quality took; they are in no request's time.",
            value=self.gpu_s,
        )
        if self._spec is None:
            return
        sums = self.sums
        family = GaugeMetricFamily(
            "hadis_router_watched_quality", "Sums over the answers that were judged lately.", labels=["sum"]
        )
        for name, value in named_sums(sums).items():
            family.add_metric([name], value)
        yield family
        yield _confidences(live_quality(sums))

    def _chosen_by_client(self, job: Job) -> bool:
        """Return whether a request was no usual one, of which the plan decides and the profile tells."""
        return bool(job.forced_tier or job.preference or job.able_tiers or job.canary or job.params.edit)

    def _sample(self, job: Job, plan: Plan) -> _Sample | None:
        if plan != self._plan:
            self._plan, self._expected = plan, expected_confidence(self._profile, plan)
        answer = job.future.result()
        made_heavy = answer.made_by.tier == plan.heavy
        if job.admission.plan_generation != plan.generation:
            return None  # what is predicted is of another plan
        known = made_heavy or (answer.confidence is not None and answer.made_by.tier == plan.light)
        if self._expected is None or not known or plan.heavy in self._profile.slots:
            return None
        confidence = None if made_heavy else answer.confidence
        return _Sample(job.params, plan.heavy, confidence, self._expected, asyncio.get_running_loop().time())

    async def _judge(self, sample: _Sample, job: Job, dispatcher: Dispatcher) -> str:
        """Wait for the image of a spare job; return what became of it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        sample.tries += 1
        await asyncio.wait((job.future,), timeout=_LONGEST_S)
        self.gpu_s += loop.time() - began
        if not job.done:
            dispatcher.cancel(job)
        if job.future.cancelled():
            return "stopped"
        try:
            heavy = job.future.result().confidence
        except ServeError:
            return "failed"
        if heavy is None:
            return "failed"
        answered = heavy if sample.confidence is None else sample.confidence
        profiled = mean_confidence(self._profile.tiers[sample.heavy].confidence_quantiles)
        self._judged.append(_Judged(answered, sample.expected, heavy, profiled))
        return "judged"


def _confidences(live: LiveQuality | None) -> Metric:
    family = GaugeMetricFamily(
        "hadis_router_watched_confidence",
        "Mean confidence of the answers that were judged lately (`value` mean), ends of its 99% interval (low, high), "
        "and of what is predicted (predicted_low, predicted_high); none before the first.",
        labels=["value"],
    )
    if live is None:
        return family
    ends = ("low", live.interval.low), ("high", live.interval.high)
    predicted = ("predicted_low", live.predicted.low), ("predicted_high", live.predicted.high)
    for name, value in (("mean", live.mean), *ends, *predicted):
        family.add_metric([name], value)
    return family
