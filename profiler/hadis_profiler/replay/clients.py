"""Clients of a replay: whose each request of a trace is.

A trace does not say who sends a request, so it is drawn, in given shares. Texts that cannot be meant raise ValueError
with what to write instead, as those of the disturbances do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

_MOST = 1e6


@dataclass(frozen=True)
class ClientMix:
    """Shares of the requests by client, and the clients' weights; one client has all requests if left out."""

    shares: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def names(self) -> list[str]:
        """The clients' names, in order."""
        return [f"client {i}" for i in range(1, len(self.shares) + 1)]

    @property
    def weight_by_name(self) -> dict[str, float]:
        """The weights of those that were given one."""
        return dict(zip(self.names, self.weights, strict=False))

    def drawn(self, seed: int) -> Callable[[], str]:
        """Return what gives the client of one request after the other."""
        if not self.shares:
            return lambda: ""
        draw, names = random.Random(f"clients {seed}"), self.names
        return lambda: draw.choices(names, self.shares)[0]


def read_clients(shares: str | None, weights: str | None) -> ClientMix:
    """Return what texts such as `50:1` say; raise ValueError for one that cannot be meant."""
    if shares is None:
        if weights is not None:
            raise ValueError("--weights: says nothing without --clients, for example --clients 50:1 --weights 1:2")
        return ClientMix()
    mix = ClientMix(_numbers("clients", shares, "50:1"), () if weights is None else _numbers("weights", weights, "1:2"))
    if len(mix.weights) > len(mix.shares):
        raise ValueError(f"--weights {weights}: names {len(mix.weights)} clients, but there are {len(mix.shares)}")
    return mix


def _numbers(option: str, text: str, example: str) -> tuple[float, ...]:
    return tuple(_number(option, text, part, example) for part in text.split(":"))


def _number(option: str, text: str, part: str, example: str) -> float:
    try:
        value = float(part)
    except ValueError:
        value = math.nan
    if not 0 < value <= _MOST:
        raise ValueError(f"--{option} {text}: must be numbers over 0 and up to {_MOST:g}, for example {example}")
    return value
