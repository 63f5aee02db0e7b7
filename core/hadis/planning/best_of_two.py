"""Best of two: which image of a deferred request is the answer, where both were judged. Pure.

Written once: the router follows it, and the profiler measures what it is worth.
"""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@overload
def light_is_better(light: float, heavy: float) -> bool: ...
@overload
def light_is_better(light: Array, heavy: Array) -> NDArray[np.bool_]: ...
def light_is_better(light: float | Array, heavy: float | Array) -> bool | NDArray[np.bool_]:
    """Return whether the light image is the better one, by the confidences (0 to 1) in the two; numbers or arrays.

    Workers say 0 of an image that could not be judged. The heavy one is the answer then, and where a confidence is no
    number.
    """
    return (heavy > 0) & (heavy < light)
