"""Sweeps process rows one by one where each row has its own effect, so a bad row does not block the
others.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from django.db import InterfaceError, OperationalError

logger = logging.getLogger(__name__)

Row = TypeVar("Row")


def process_each(rows: Iterable[Row], work: Callable[[Row], object]) -> int:
    """Call ``work`` for each of ``rows``; return how many calls returned a true value.

    A row whose call raises is logged and left to the next sweep.

    Raises:
        OperationalError, InterfaceError: the database does not answer; the next sweep processes the
            rest.
    """
    done = 0
    for row in rows:
        try:
            done += bool(work(row))
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("a sweep could not deal with %s; it goes on with the next", row)
    return done
