"""Sweeps go row by row where each row has an effect of its own; a bad row costs itself, never those after it."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from django.db import InterfaceError, OperationalError

logger = logging.getLogger(__name__)

Row = TypeVar("Row")


def process_each(rows: Iterable[Row], work: Callable[[Row], object]) -> int:
    """How many of ``rows`` ``work`` did something for, which it says by what it returns.

    One that raises is logged and left to the next sweep. A database that does not answer is no row's fault.

    Raises:
        OperationalError, InterfaceError: it went away; the next sweep finds the rest.
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
