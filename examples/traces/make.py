"""Print the arrivals of `hadis load --rps 1..12 --minutes 3` as a trace for `hadis replay` and `hadis size`."""

from __future__ import annotations

import random

from hadis.cli.load import LoadRun, arrivals

if __name__ == "__main__":
    for at_s in arrivals(LoadRun(1, 12, 180, slo_s=4), random.Random(0)):
        print(round(1000 * at_s))
