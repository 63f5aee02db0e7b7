"""What a benchmark is to reach: a line for each goal, and an exit code that says whether all are met."""

from __future__ import annotations


def report_goals(*goals: tuple[str, str, bool]) -> int:
    """Print (what is to be reached, what was measured, whether that reaches it); return 0 where all are met, else 1."""
    for goal, measured, met in goals:
        print(f"\nGoal: {goal}: {'met' if met else 'missed'} ({measured}).", flush=True)
    return 0 if all(met for _, _, met in goals) else 1
