"""Tests on a virtual clock: waiting takes no time, and times are exact."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

import looptime

P = ParamSpec("P")


def virtual(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an asynchronous test on a loop of its own whose clock jumps over every wait."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def whole() -> None:
            try:
                await test(*args, **kwargs)
            finally:
                left = asyncio.all_tasks() - {asyncio.current_task()}
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)

        # Not asyncio.Runner: at its end it takes away the event loop that the test runner had set.
        loop = looptime.new_event_loop(start=0)
        try:
            loop.run_until_complete(whole())
        finally:
            loop.close()

    return run
