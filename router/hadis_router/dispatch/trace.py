"""What a job tells whoever traces it: nobody, where traces are off, so that the dispatcher knows no tracing library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class JobTrace(Protocol):
    """Is told what becomes of one job, in order. Nothing in it may say what the prompt is."""

    @property
    def trace_id(self) -> str | None:
        """The trace that the job is of, if somebody will be able to look it up."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By which a worker goes on with the trace, while the job is in a batch."""

    def admitted(self, tier: str, reason: str, difficulty: float | None) -> None:
        """The job was admitted for a tier."""

    def waits(self, tier: str) -> None:
        """It is in a tier's queue; if it was in a batch, that did not make its image."""

    def runs(self, part: str, tier: str, worker: str, size: int) -> None:
        """It is in a batch of `size` jobs; `part` is the tier's in the cascade, light or heavy."""

    def joins(self, others: Sequence[JobTrace]) -> None:
        """It shares its batch with the jobs of other traces."""

    def made(self, confidence: float | None) -> None:
        """Its batch made its image."""

    def ended(self, how: str) -> None:
        """It is over: answered, cancelled or by an error's code."""

    def stand_in(self) -> JobTrace:
        """Return the trace of a job that makes an image in its place."""


class NoTrace:
    """Traces nothing."""

    trace_id: str | None = None
    headers: Mapping[str, str] = {}

    def admitted(self, tier: str, reason: str, difficulty: float | None) -> None:
        """Do nothing, as all of these."""

    def waits(self, tier: str) -> None: ...

    def runs(self, part: str, tier: str, worker: str, size: int) -> None: ...

    def joins(self, others: Sequence[JobTrace]) -> None: ...

    def made(self, confidence: float | None) -> None: ...

    def ended(self, how: str) -> None: ...

    def stand_in(self) -> JobTrace:
        return self


NO_TRACE = NoTrace()
"""Has no state: all jobs may share it."""


def no_trace(arrived: float) -> JobTrace:
    """Return the trace of a job that nobody traces."""
    return NO_TRACE


def headers_of(traces: Sequence[JobTrace]) -> Mapping[str, str]:
    """Return the headers of a batch's call: a worker's spans are in one trace, the first that is kept, if any is."""
    return leader(traces).headers


def leader(traces: Sequence[JobTrace]) -> JobTrace:
    """Return the trace that a batch's own spans are in; those of its other jobs are linked with it."""
    return next((trace for trace in traces if trace.trace_id is not None), traces[0])


def join(traces: Sequence[JobTrace]) -> None:
    """Link the jobs of a batch, which all run."""
    first = leader(traces)
    others = [trace for trace in traces if trace is not first]
    first.joins(others)
    for other in others:
        other.joins([first])
