"""What the kernel does to a restored database before anybody uses it; see ``docs/backup.md``."""

from typing import Any

from orchestra.db.fencing import NAME, first_fence
from orchestra.models import BrowserSession, IdempotentRequest, Lease, SignInLink


def reset_after_restore(*, epoch: int, **_: Any) -> None:
    """No owner of then owns anything; nobody is signed in by what was signed out or used since."""
    Lease.objects.exclude(name=NAME).update(owner="", expires_at=None, fence=first_fence(epoch))
    IdempotentRequest.objects.filter(status_code=None).delete()  # who would have answered is gone
    SignInLink.objects.all().delete()
    BrowserSession.objects.all().delete()
