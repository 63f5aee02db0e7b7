"""An end to whatever takes too long, also inside of libraries, and words for what fails."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import TypeVar

from hadis_worker.loading.faults import explain
from hadis_worker.outcomes import is_out_of_memory

T = TypeVar("T")
_AGAIN_S = 5.0
"""What is raised in a destructor is lost: it is raised again."""


class OutOfTime(BaseException):
    """Time is up. No Exception, for libraries go on after those."""


def attempt(call: Callable[[], T], limit_s: float) -> T | str:
    """Return what a call returns, or in a line why it did not: it failed, or was stopped after so many seconds."""
    try:
        with within(limit_s):
            return call()
    except OutOfTime:
        return f"stopped after {max(0, limit_s):.0f} s"
    except Exception as error:  # whatever a model raises is one row's, and the run goes on
        return "out of memory" if is_out_of_memory(error) else explain(error)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in what runs inside when it takes longer than so many seconds; of the main thread only."""

    def end(*_: object) -> None:
        raise OutOfTime

    if seconds <= 0:
        raise OutOfTime
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
