"""What measurements share: the ratio of two sides that took turns, with its range over the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def ratio_of_rounds(
    numerators: Sequence[float], denominators: Sequence[float], digits: int = 3
) -> dict[str, Any]:
    """Return the median of the rounds' ratios, and the smallest and the largest of them.

    >>> ratio_of_rounds([2.0, 3.0, 8.0], [1.0, 1.0, 2.0])
    {'ratio': 3.0, 'ratio_range': [2.0, 4.0]}
    """
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return {
        "ratio": round(statistics.median(ratios), digits),
        "ratio_range": [round(min(ratios), digits), round(max(ratios), digits)],
    }
