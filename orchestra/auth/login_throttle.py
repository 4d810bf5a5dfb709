"""A rate limit for passwords that fail. It never slows down signed-in people or API tokens."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from orchestra.models import SignInAttempt

logger = logging.getLogger(__name__)

WINDOW = timedelta(minutes=5)
KEPT = timedelta(days=30)
PER_PERSON_AND_PLACE, PER_PLACE, PER_PERSON = 5, 50, 100  # failures within the window


@dataclass(frozen=True, slots=True)
class TooManyAttempts(Exception):
    """The password was not checked: too many attempts failed lately for this account, from this
    address, or both.
    """

    wait: timedelta


def count_attempt(*, username: str, address: str) -> SignInAttempt:
    """Count an attempt as failed before the password is checked, so that parallel attempts cannot
    exceed the limit.

    Raises:
        TooManyAttempts: the limit is reached; the attempt is not counted.
    """
    SignInAttempt.objects.filter(at__lt=Now() - KEPT).delete()
    attempt = SignInAttempt.objects.create(username=username.lower()[:150], address=address[:100])
    wait = max(_wait(attempt, which, limit) for which, limit in _limits(attempt))
    if wait:
        attempt.delete()
        logger.warning("sign-in refused: too many attempts from %s", address)
        raise TooManyAttempts(wait)
    return attempt


def mark_succeeded(attempt: SignInAttempt) -> None:
    """Record that the password was right, so that the attempt no longer counts."""
    SignInAttempt.objects.filter(pk=attempt.pk).update(succeeded=True)


def attempts_left(attempt: SignInAttempt) -> int:
    """Return how many more attempts this account has from this address."""
    which, limit = _limits(attempt)[0]
    return max(0, limit - _recent(which).count())


def _limits(attempt: SignInAttempt) -> list[tuple[Q, int]]:
    name, place = Q(username=attempt.username), Q(address=attempt.address)
    return [(name & place, PER_PERSON_AND_PLACE), (place, PER_PLACE), (name, PER_PERSON)]


def _wait(attempt: SignInAttempt, which: Q, limit: int) -> timedelta:
    """Return the time until the attempt fits under ``limit``; zero if it does now.

    The database's clock decides which attempts count; this host's clock only computes the time
    shown.
    """
    earlier = _recent(which).filter(pk__lt=attempt.pk).order_by("-pk").values_list("at", flat=True)
    filling = earlier[limit - 1 : limit].first()
    return max(timedelta(seconds=1), filling + WINDOW - timezone.now()) if filling else timedelta()


def _recent(which: Q) -> QuerySet[SignInAttempt]:
    return SignInAttempt.objects.filter(which, succeeded=False, at__gt=Now() - WINDOW)
