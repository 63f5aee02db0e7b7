"""Numbers that planning was tuned with, passed to whatever needs one, so that a benchmark can pass others.

`bench/paper.md` shows on the paper's traces what some of them bring.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """All of them; hashable, so that what is made with them can be cached."""

    refine: int = 4
    """Steps into which each step of the measured grid of ratios is divided; quality is close to linear in between."""

    switch_gain: float = 0.01
    """Share by which another configuration must be better before the solver leaves one that is still feasible.

    Under it lies the noise of measured distances (a bootstrap over 5,000 prompts gives about 1% for FID), so that a
    smaller promise is no gain, but every switch makes the router learn new thresholds.
    """

    wait_reserve: float = 0.1
    """Share of the SLO that batches leave for waiting on the slowest path."""

    near_best_batch: float = 1.02
    """Of the batch sizes that take at most this many times the least GPU time per image, the smallest is used."""

    target_wait: float = 0.25
    """Queue to aim at, in GPU seconds per GPU, as a share of what the SLO leaves beside the batches.

    Enough for batches to be full and no GPU to idle between plans, and little enough that most of what waits is
    generated in time.
    """

    queue_horizon_slos: float = 0.5
    """Time over which the queue is brought to its target, in SLOs: half the life of what waits in it."""

    least_spare: float = 0.05
    """Share of the GPUs that counts as free for new work however long the queue is."""

    pair_gain: float = 0.002
    """Share by which another pair of tiers must be better before routing leaves the pair in force: below it, the
    bilinear table cannot tell them apart."""

    payback_changes: float = 6.0
    """A moved GPU must pay for itself within this many times the time that the move takes: demand that changes faster
    cannot be followed."""

    move_gain: float = 0.002
    """Share by which GPUs in other places must be better, the move included, before any is moved."""

    splits: int = 32
    """Steps in which all GPUs are split between two tiers, for the moves that are compared."""

    fast_window_s: float = 5.0
    """Window of the forecast's fast mean, which sees a burst."""

    slow_window_s: float = 30.0
    """Window of the forecast's slow mean, which does not forget a burst in the next lull."""

    steady_window_s: float = 90.0
    """Window of the mean that is routed for while nothing says that the demand has changed: at 12 requests/s it is off
    by 3%, and what is left for the heavy tier by three times that."""

    mix_window_s: float = 45.0
    """Window of the shares in which image sizes arrive."""

    change_window_s: float = 8.0
    """Window of the mean that says whether the demand has changed."""

    change_deviations: float = 1.25
    """By how many deviations of that mean it may differ from the steady one and say nothing: of Poisson arrivals it
    differs by more one time in five, and what is then believed of it is all the noise that a steady demand has."""
