"""What images and GPUs consume, in energy and in money: predictions for people, where the numbers are known. Pure.

Per image it is that of the time in which GPUs work for it; per hour that of all GPUs that are held, idle ones too.
"""

from __future__ import annotations

import math

import numpy as np

from hadis.api.resources import ServiceSpec
from hadis.planning.table import Table

_HOUR_S = 3600.0


def image_joules(table: Table, row: int) -> float | None:
    """Return the energy per image of a row, in batches of most throughput; None where the profile does not tell."""
    return _known(float(table.energy_j[row]))


def image_money(table: Table, row: int, gpu_price: float | None, gpus_per_worker: int) -> float | None:
    """Return the money per image of a row, in such batches; None without a price per GPU hour.

    Nor is it known where an endpoint makes images of the row.
    """
    if gpu_price is None or table.light_slots[row] or table.heavy_slots[row]:
        return None
    light_s, heavy_s = table.load(np.array([row]), 1.0)
    return _known(float(light_s[0] + heavy_s[0]) * gpus_per_worker * gpu_price / _HOUR_S)


def money_per_hour(spec: ServiceSpec, gpus: int) -> float | None:
    """Return the money per hour of so many GPUs; None without a price."""
    price = spec.objective.gpu_price
    return None if price is None else gpus * price


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
