import time
from collections.abc import Iterator


def paced(count: int, rate: float) -> Iterator[int]:
    """Yield the numbers below ``count``, ``rate`` per second; a rate of 0 means without pauses."""
    begin = time.monotonic()
    for number in range(count):
        yield number
        ahead = begin + (number + 1) / rate - time.monotonic() if rate else 0.0
        if ahead > 0:
            time.sleep(ahead)
