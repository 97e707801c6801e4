"""Counts and chance: how sure a share is, and whether two ways of asking differ by more than luck.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), for
the interval, as recommended for small counts by Brown, Cai and DasGupta, "Interval estimation for a binomial
proportion", Statistical Science 16 (2001), equation 4; Q. McNemar, Psychometrika 12 (1947), for answers to the same
questions, in its exact (binomial) form; S. Holm, Scandinavian Journal of Statistics 6 (1979), for several tests at
once.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
SIGNIFICANT = 0.05


def wilson(count: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's score interval of a share, both ends in [0, 1].

    Args:
        count: How often it was so.
        total: Out of how many, above 0.
        confidence: How much of the time such an interval holds the true share.

    Raises:
        ValueError: `count` is not in 0 to `total`, or `total` is 0.
    """
    if not 0 <= count <= total or total == 0:
        raise ValueError(f"count: must be in 0 to total, and total above 0, got {count} of {total}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = count / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    whole = 1 + z * z / total
    # The ends are exact where the count is: rounding must not put the share outside its own interval.
    low = 0.0 if count == 0 else (middle - half) / whole
    high = 1.0 if count == total else (middle + half) / whole
    return low, high


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided exact p-value for paired answers.

    Under chance alone, each question that only one of two ways answers rightly is either way's with even odds.

    Args:
        lost: Questions that the first way alone answers rightly.
        gained: Questions that the second way alone answers rightly.

    Raises:
        ValueError: A count is below 0.
    """
    if lost < 0 or gained < 0:
        raise ValueError(f"lost, gained: must not be below 0, got {lost} and {gained}")
    total = lost + gained
    tail = sum(math.comb(total, k) for k in range(min(lost, gained) + 1))
    return min(1.0, 2 * tail / (1 << total))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, in the order given."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted = [0.0] * len(values)
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = least
    return adjusted
