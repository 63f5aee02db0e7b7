"""How long a batch takes: the profile's latency, corrected by the batches that ran.

Admission and deferral ask "would it be late?". Where the profile was measured on a faster or a busier machine, they
must not be wrong for ever, so what batches really took is learnt. A router that starts goes on from what was learnt
before: to its speeds that is the profile.
"""

from __future__ import annotations

from hadis.planning.profile import Profile
from hadis.planning.speeds import DEAD_BAND, Ratios, corrected

from hadis_router.dispatch.speeds import Speeds

_LEAST, _MOST = 0.1, 100.0
"""One batch that took more or less than this many times the profile's latency counts as this."""
_SURE = 5
"""Batches of a tier after which its times are no surprise."""
_TRUSTED = 500
"""Batches of a tier, each no longer than what was set aside for it, after which the next ones are taken to be so."""


class Estimates:
    """Latencies by tier, batch size and worker."""

    def __init__(self, profile: Profile) -> None:
        """Start from the profile's latencies."""
        self._measured = self._profile = profile
        self._before: Ratios = {}
        """What was learnt before, by this router or by others."""
        self._speeds = Speeds(profile.slots)
        self._cache: dict[tuple[str, int, bool, str | None], float] = {}
        self._guessed: set[str] = set()
        """Tiers that never ran, and that were once taken to be slower or faster than profiled: told from then on."""
        self._since_overrun: dict[str, int] = {}
        """Batches by tier, of those that had any that lasted longer than what was set aside for it."""

    def latency_s(self, tier: str, batch: int, discriminated: bool = False, image_size: str | None = None) -> float:
        """Return the expected seconds of a batch on the middle worker; `discriminated`: with the discriminator's."""
        return self._profiled_s(tier, batch, discriminated, image_size) * self._speeds.tier_ratio(tier, batch)

    def largest_batch(self, tier: str, image_size: str | None) -> int | None:
        """Return the largest batch that the profile has of an image size; None where the size was not measured."""
        return self._profile.largest_batch(tier, image_size)

    def worker_ratio(self, worker: str) -> float:
        """Return how many times as long as the middle worker one takes."""
        return self._speeds.worker_ratio(worker)

    def learn(
        self, worker: str, tier: str, batch: int, discriminated: bool, seconds: float, image_size: str | None = None
    ) -> None:
        """Learn from a batch that took `seconds`; what is learnt of one image size is believed of all."""
        measured_s = self._measured.latency_s(tier, batch, discriminated, image_size)
        believed_s = min(_MOST * measured_s, max(_LEAST * measured_s, seconds))
        self._speeds.learn(worker, tier, batch, believed_s / self._profiled_s(tier, batch, discriminated, image_size))

    def _is_guess(self, tier: str) -> bool:
        """Return whether a tier never ran, and is taken not to be as profiled, after its kin."""
        if tier in self._guessed or self._speeds.batches(tier):
            return False
        ratios = (self._speeds.tier_ratio(tier, size) for size in self._profile.batch_sizes(tier))
        return any(abs(ratio - 1) > DEAD_BAND for ratio in ratios)

    def learn_at_least(
        self, worker: str, tier: str, batch: int, discriminated: bool, seconds: float, image_size: str | None = None
    ) -> None:
        """Learn from a batch that has taken `seconds` and is not done: evidence where that is over what is expected."""
        if seconds > self.latency_s(tier, batch, discriminated, image_size) * self.worker_ratio(worker):
            self.learn(worker, tier, batch, discriminated, seconds, image_size)

    def knows(self, worker: str) -> bool:
        """Return whether a worker made a batch."""
        return self._speeds.knows(worker)

    def is_sure(self, tier: str) -> bool:
        """Return whether enough batches of a tier ran for the next ones to be foreseen."""
        return self._speeds.batches(tier) >= _SURE

    def note_end(self, tier: str, *, overran: bool) -> None:
        """Note whether a batch took longer than what was set aside for it."""
        if overran:
            self._since_overrun[tier] = 0
        elif tier in self._since_overrun:
            self._since_overrun[tier] += 1

    def overruns(self, tier: str) -> bool:
        """Return whether a batch of a tier may well take longer than what is set aside for it: one did lately."""
        return self._since_overrun.get(tier, _TRUSTED) < _TRUSTED

    def step_s(self, tier: str, batch_s: float) -> float:
        """Return the seconds of a step of a batch that takes `batch_s`; what comes after the steps counts as one."""
        return batch_s / (self._profile.tiers[tier].steps + 1)

    def start_from(self, ratios: Ratios) -> None:
        """Believe what was learnt before, from now on if no batch ran yet, else once all of this one is forgotten."""
        self._before = ratios
        if not any(map(self._speeds.batches, self._measured.tiers)):
            self._believe_before()

    def forget(self) -> None:
        """Believe what was learnt before again, and where that is nothing, the profile."""
        self._speeds = Speeds(self._measured.slots)
        self._guessed.clear()
        self._since_overrun.clear()
        self._believe_before()

    def _believe_before(self) -> None:
        self._profile = corrected(self._measured, self._before)
        self._cache.clear()

    def keep_workers(self, workers: set[str]) -> None:
        """Forget what was learnt of all workers but these."""
        self._speeds.keep(workers)

    @property
    def tier_ratios(self) -> dict[str, dict[int, float]]:
        """By tier and measured batch size: the expected seconds divided by the profile's.

        Where those of GPUs that ran are not as profiled, those that never did are told of too: one that is planned with
        by what the profile says, and never begun by what is guessed, would never run. A guess that says no more than
        the profile is not told: it would pass for something that was learnt.
        """
        self._guessed.update(filter(self._is_guess, self._profile.local_tiers))
        ran = {tier for tier in self._profile.tiers if self._speeds.batches(tier)} | self._guessed
        return {
            tier: {size: self._ratio(tier, size) for size in self._measured.batch_sizes(tier)}
            for tier in self._measured.tiers
            if tier in ran
        }

    def _ratio(self, tier: str, size: int) -> float:
        before = self._profile.latency_s(tier, size) / self._measured.latency_s(tier, size)
        return before * self._speeds.tier_ratio(tier, size)

    def _profiled_s(self, tier: str, batch: int, discriminated: bool, image_size: str | None) -> float:
        key = (tier, batch, discriminated, image_size)
        if key not in self._cache:
            self._cache[key] = self._profile.latency_s(tier, batch, discriminated, image_size)
        return self._cache[key]
