"""Decide how many requests one message shows, whether it makes a sound, and when to retry. Pure."""

import random
from collections.abc import Sequence

MOST_IN_A_LIST = 15
RESERVE = 4  # messages per minute kept free for replies and outcomes
SHORTEST_BACKOFF_S, LONGEST_BACKOFF_S = 16.0, 60.0
FIRST_REFUSED_S, LONGEST_REFUSED_S = 60.0, 300.0


def choose_batch_size(waiting: int, *, remaining: int) -> int:
    """Return how many of the ``waiting`` approval requests the next message should show.

    1 stands for a single card.

    ``remaining`` is how many messages the chat still accepts this minute. A card is easier to
    answer than a line in a list, but a request that is shown only after its deadline is worse than
    either.
    """
    if waiting <= max(1, remaining - RESERVE):
        return min(waiting, 1)
    return min(waiting, MOST_IN_A_LIST)


def is_silent(muted: Sequence[bool]) -> bool:
    """Return True if every person who may decide has muted.

    Then cards are silent and reminders are skipped.
    """
    return bool(muted) and all(muted)


def refused_retry_delay_s(attempts: int) -> float:
    """Return the seconds until the next try of a refused message: 60 to 300, with jitter."""
    base = min(FIRST_REFUSED_S * 2.0 ** max(0, attempts - 1), LONGEST_REFUSED_S / 1.25)
    return base * random.uniform(1.0, 1.25)  # noqa: S311 - no secret


def retry_delay_s(attempts: int) -> float:
    """Return the seconds until the next try after all quick retries failed: 16 to 60, with jitter."""
    base = min(SHORTEST_BACKOFF_S * 1.5 ** max(0, attempts - 1), LONGEST_BACKOFF_S / 1.25)
    return base * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
