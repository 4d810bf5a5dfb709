"""System checks that refuse a bad combination of settings at start."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import checks

from approvals.callbacks.signature import secret_key

MAKE_ONE = "python3 -c 'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(32)).decode())'"


def register_checks() -> None:
    checks.register(check_callbacks, checks.Tags.security)
    checks.register(check_timeouts, checks.Tags.security)  # each process runs the checks with this tag when it starts


def check_timeouts(**_: Any) -> list[checks.CheckMessage]:
    """Without this check a default above the maximum would be shortened silently."""
    approvals, minute = settings.APPROVALS, timedelta(minutes=1)
    if approvals.timeout <= approvals.max_timeout:
        return []
    problem = (
        f"APPROVAL_DEFAULT_TIMEOUT_MINUTES ({approvals.timeout / minute:g}) is above APPROVAL_MAX_TIMEOUT_MINUTES "
        f"({approvals.max_timeout / minute:g})."
    )
    return [checks.Error(problem, hint="Lower the first, or raise the second.", id="approvals.E002")]


def check_callbacks(**_: Any) -> list[checks.CheckMessage]:
    """Every callback is signed, so a list of hosts needs a secret."""
    approvals = settings.APPROVALS
    if not approvals.callback_places:
        return []
    try:
        secret_key(approvals.callback_secret)
    except ValueError as error:
        problem = f"APPROVAL_CALLBACK_HOSTS needs APPROVAL_CALLBACK_SECRET: {error}."
        return [checks.Error(problem, hint=f"Make one with: {MAKE_ONE}", id="approvals.E001")]
    return []
