"""Settings of this app that do not go together."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import checks

from approvals.callbacks.signature import secret_key

MAKE_ONE = "python3 -c 'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(32)).decode())'"


def register_checks() -> None:
    """Called once when the app is ready."""
    checks.register(check_callbacks, checks.Tags.security)
    checks.register(check_timeouts, checks.Tags.security)  # with a tag that every start looks at


def check_timeouts(**_: Any) -> list[checks.CheckMessage]:
    """A default that no request could get would be cut to the maximum without a word."""
    house, minute = settings.APPROVALS, timedelta(minutes=1)
    if house.timeout <= house.max_timeout:
        return []
    problem = (
        f"APPROVAL_DEFAULT_TIMEOUT_MINUTES ({house.timeout / minute:g}) is above APPROVAL_MAX_TIMEOUT_MINUTES "
        f"({house.max_timeout / minute:g})."
    )
    return [checks.Error(problem, hint="Lower the first, or raise the second.", id="approvals.E002")]


def check_callbacks(**_: Any) -> list[checks.CheckMessage]:
    """Callbacks are signed or not sent: who allows hosts gives a secret."""
    house = settings.APPROVALS
    if not house.callback_places:
        return []
    try:
        secret_key(house.callback_secret)
    except ValueError as error:
        problem = f"APPROVAL_CALLBACK_HOSTS needs APPROVAL_CALLBACK_SECRET: {error}."
        return [checks.Error(problem, hint=f"Make one with: {MAKE_ONE}", id="approvals.E001")]
    return []
