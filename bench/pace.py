"""Doing something at a rate."""

import time
from collections.abc import Iterator


def paced(count: int, rate: float) -> Iterator[int]:
    """``count`` numbers, ``rate`` a second; as fast as can be for 0."""
    begin = time.monotonic()
    for number in range(count):
        yield number
        ahead = begin + (number + 1) / rate - time.monotonic() if rate else 0.0
        if ahead > 0:
            time.sleep(ahead)
