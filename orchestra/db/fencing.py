"""Fence epochs: after a restore, every new fencing token is greater than all tokens issued before.

A backup does not contain the fencing tokens that were issued after it was made. If the restored
database simply continued to count, a supervisor that survived the restore could hold the same token
as a new supervisor, and both could write to one session. So a restore starts a new epoch, and the
tokens of an epoch form a range of their own.
"""

import time

from django.db.models.functions import Now

from orchestra.models import Lease

NAME = "fence_epoch"
FENCES_PER_EPOCH = 2**20  # a session can have this many runs between two restores


def current_epoch() -> int:
    """Return the epoch of this database, or 0 if it was never restored."""
    return Lease.objects.filter(name=NAME).values_list("fence", flat=True).first() or 0


def start_epoch(*known: int) -> int:
    """Start an epoch that is greater than ``known`` and than this database's own, and return it.

    The clock is a lower bound as well, because the replaced database, which knows the last epoch,
    may be lost.
    """
    epoch = max(int(time.time()), current_epoch() + 1, *(number + 1 for number in known))
    Lease.objects.update_or_create(name=NAME, defaults={"fence": epoch, "updated_at": Now()})
    return epoch


def first_fence(epoch: int) -> int:
    """Return the smallest token of ``epoch``; below 2**53, which JSON readers keep exactly."""
    return epoch * FENCES_PER_EPOCH
