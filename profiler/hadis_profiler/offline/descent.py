"""How the discriminators' networks are trained: AdamW under one cycle of the rate (Smith and Topin 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from rich.progress import Progress
from torch import Tensor, nn

_BATCH = 96
_DECAY = 0.02


def descend(
    parameters: Iterable[nn.Parameter],
    loss_of: Callable[[Tensor], Tensor],
    count: int,
    rounds: int,
    most_rate: float,
    progress: Progress,
    what: str,
) -> None:
    """Train parameters on `count` examples; `loss_of` returns the loss of those of some indices, `what` is told."""
    optimizer = torch.optim.AdamW(parameters, weight_decay=_DECAY)
    steps = rounds * -(-count // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, most_rate, total_steps=steps)
    task = progress.add_task(what, total=steps)
    for _ in range(rounds):
        for part in torch.randperm(count).split(_BATCH):
            loss = loss_of(part)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.advance(task)
