"""Fence epochs: after a restore, every fence is above all that were ever handed out.

A backup knows nothing of the fences that were given after it was made. Without a leap, a supervisor that outlived a
restore could hold the very number that a new one gets, and write beside it.
"""

import time

from django.db.models.functions import Now

from orchestra.models import Lease

NAME = "fence_epoch"
FENCES_PER_EPOCH = 2**20  # of one epoch: as many runs as a session can have between two restores


def current_epoch() -> int:
    """The epoch of the database; 0 if it was never restored."""
    return Lease.objects.filter(name=NAME).values_list("fence", flat=True).first() or 0


def start_epoch(*known: int) -> int:
    """Begin an epoch above ``known`` and this database's own, and return it.

    The clock takes part, since the database that a restore replaces, and with it the epochs it knew, may be lost.
    """
    epoch = max(int(time.time()), current_epoch() + 1, *(number + 1 for number in known))
    Lease.objects.update_or_create(name=NAME, defaults={"fence": epoch, "updated_at": Now()})
    return epoch


def first_fence(epoch: int) -> int:
    """The least fence of ``epoch``. Below 2**53, so that any JSON reader keeps it exactly."""
    return epoch * FENCES_PER_EPOCH
