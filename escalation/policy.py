"""Whom to tell, when, how often. Pure."""

import random
from collections.abc import Sequence

MOST_IN_A_LIST = 15
RESERVE = 4  # of the messages a group takes in a minute: for answers to people and for outcomes
SHORTEST_BACKOFF_S, LONGEST_BACKOFF_S = 16.0, 60.0
FIRST_REFUSED_S, LONGEST_REFUSED_S = 60.0, 300.0


def choose_batch_size(waiting: int, *, remaining: int) -> int:
    """How many of the ``waiting`` questions the next message should tell; 1 is a card of its own.

    ``remaining`` is how many messages the chat still takes this minute. Cards are better to answer; but a question nobody
    was told of before its deadline is worse than a line in a list.
    """
    if waiting <= max(1, remaining - RESERVE):
        return min(waiting, 1)
    return min(waiting, MOST_IN_A_LIST)


def is_silent(muted: Sequence[bool]) -> bool:
    """Whether everybody who may answer has muted: cards make no sound then, and nobody is reminded."""
    return bool(muted) and all(muted)


def refused_retry_delay_s(attempts: int) -> float:
    """Seconds until a message is tried again that Telegram refused in every form: 1 to 5 minutes, with jitter."""
    base = min(FIRST_REFUSED_S * 2.0 ** max(0, attempts - 1), LONGEST_REFUSED_S / 1.25)
    return base * random.uniform(1.0, 1.25)  # noqa: S311 - no secret


def retry_delay_s(attempts: int) -> float:
    """Seconds until a delivery is tried again whose quick repetitions are spent: 16 to 60, with jitter."""
    base = min(SHORTEST_BACKOFF_S * 1.5 ** max(0, attempts - 1), LONGEST_BACKOFF_S / 1.25)
    return base * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
