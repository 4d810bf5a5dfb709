"""How long people may be given to answer."""

from datetime import timedelta

from django.conf import settings

EXTENSION_MINUTES = 15
"""What the button of every surface adds."""


def timeout_problem(minutes: float | None) -> str:
    """What is wrong with a time that somebody asks for, in minutes; empty if it is fine, or nobody asks for one.

    What is longer than the maximum is refused, not cut: who asked for a day must not find out by an expiry.
    """
    most = settings.APPROVALS.max_timeout / timedelta(minutes=1)
    if minutes is None or 0 < minutes <= most:
        return ""
    return f"A number of minutes above 0 and up to {most:g}, the maximum (APPROVAL_MAX_TIMEOUT_MINUTES)."
