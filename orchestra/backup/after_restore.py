"""The kernel's after-restore step, which runs before the restored database is used; see
``docs/backup.md``.
"""

from typing import Any

from orchestra.db.fencing import NAME, first_fence
from orchestra.models import BrowserSession, IdempotentRequest, Lease, SignInLink


def reset_after_restore(*, epoch: int, **_: Any) -> None:
    """Release all leases, and end sign-ins: a session or link in the backup may have been revoked
    since.
    """
    Lease.objects.exclude(name=NAME).update(owner="", expires_at=None, fence=first_fence(epoch))
    # The process that would have answered these requests has ended; a repetition would get 409 for
    # a day.
    IdempotentRequest.objects.filter(status_code=None).delete()
    SignInLink.objects.all().delete()
    BrowserSession.objects.all().delete()
