"""Pruning of the kernel's own rows: they are deleted when they expire, and never archived."""

from datetime import timedelta

from django.db.models.functions import Now

from orchestra.archive.commands import LAST_RUN
from orchestra.archive.registry import registry
from orchestra.db import leases
from orchestra.diagnostics.probes import OK, Probe, register
from orchestra.models import BrowserSession, IdempotentRequest, Lease, SignInLink
from orchestra.rest.idempotency import KEPT

LATE_AFTER = timedelta(days=2)


def register_own() -> None:
    """Register the kernel's pruners and the readiness probe of retention."""
    registry.pruners |= {
        "answers to repeated requests": prune_idempotent_requests,
        "sign-in links": lambda: SignInLink.objects.filter(expires_at__lt=Now()).delete()[0],
        "browser sessions": lambda: BrowserSession.objects.filter(expire_date__lt=Now()).delete()[0],
    }
    about = "takes away what was closed long ago"
    register(Probe("archive", archive, ready_only=True, about=about))


def prune_idempotent_requests() -> int:
    return IdempotentRequest.objects.filter(created_at__lt=Now() - KEPT).delete()[0]


def archive() -> str:
    """Return the probe's state; an installation that never archived is OK until its first run."""
    ran = Lease.objects.filter(name=LAST_RUN).exists()
    return OK if not ran or leases.was_touched_within(LAST_RUN, LATE_AFTER) else "late"
