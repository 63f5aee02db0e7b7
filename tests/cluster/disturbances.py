"""What a soak does to operators, and the wrong answers of its Prometheus."""

from __future__ import annotations

import json
import random
import signal
import time

from control_plane import Operator, Release
from fakes import Line

_VECTOR = '{"status":"success","data":{"resultType":"vector","result":[%s]}}'
ANSWERS = {
    **{
        f"value {text}": _VECTOR % f'{{"metric":{{}},"value":[1,"{text}"]}}'
        for text in ("NaN", "+Inf", "-5", "1e308", "abc", "")
    },
    "time 1e308": _VECTOR % '{"metric":{},"value":[1e308,"1e308"]}',
    "nothing": _VECTOR % "",
    "no data": json.dumps({"status": "success"}),
    "histogram": _VECTOR % '{"metric":{},"histogram":[1,{}]}',
    "an error": json.dumps({"status": "error", "error": "bad query"}),
    "a page": "<html>",
}
"""Bodies by what is wrong with them."""


class Operators:
    """Two operators of one release behind a line that can be cut; there may be fewer for some time."""

    def __init__(self, release: Release, line: Line, rng: random.Random) -> None:
        """Start both."""
        self._release, self._line, self._rng = release, line, rng
        self._count = 0
        self._running = [self._start(), self._start()]
        self._paused: dict[Operator, float] = {}

    def kill(self) -> None:
        """Kill one, and start another: in its place, known by the same name, or as a new pod."""
        operator = self._take()
        operator.stop(signal.SIGKILL)
        self._running.append(self._start())

    def replace(self) -> None:
        """Start another as a rolling upgrade does, then have one stop."""
        operator = self._take()
        self._running.append(self._start())
        operator.stop()

    def pause(self) -> None:
        """Stop one's clock for some seconds, with the lease or past it."""
        operator = self._rng.choice(self._running)
        self._signal(operator, signal.SIGSTOP)
        self._paused[operator] = time.monotonic() + self._rng.choice([1.0, 5.0, 12.0])

    def go_on(self) -> None:
        """Let those go on whose pause is over."""
        for operator, until in list(self._paused.items()):
            if time.monotonic() >= until:
                self._signal(operator, signal.SIGCONT)
                del self._paused[operator]

    def all_well(self) -> None:
        """Let all go on."""
        for operator in list(self._paused):
            self._signal(operator, signal.SIGCONT)
        self._paused.clear()

    def _take(self) -> Operator:
        operator = self._running.pop(self._rng.randrange(len(self._running)))
        if self._paused.pop(operator, None):
            self._signal(operator, signal.SIGCONT)
        return operator

    def _start(self) -> Operator:
        self._count += 1
        return self._release.start(port=self._line.port, HADIS_OPERATOR_POD=f"operator-{self._count}")

    @staticmethod
    def _signal(operator: Operator, what: signal.Signals) -> None:
        if operator.process is not None:
            operator.process.send_signal(what)
