"""Rate limits of changes over REST, for each account and web process; they need no database and no
Redis.
"""

from django.conf import settings
from django.core.cache import caches
from django.views import View
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle


class Throttle(SimpleRateThrottle):
    """Answers 429 with ``Retry-After`` above ``most`` changes of an account in a minute; 0 is no
    limit.
    """

    cache = caches["throttles"]

    def most(self) -> int:
        raise NotImplementedError

    def get_rate(self) -> str | None:
        return f"{self.most()}/min" if self.most() else None

    def counts(self, view: View) -> bool:
        raise NotImplementedError

    def get_cache_key(self, request: Request, view: View) -> str | None:
        if request.method in SAFE_METHODS or not request.user.is_authenticated or not self.counts(view):
            return None
        return f"{request.user.pk}:{self.about(request)}"

    def about(self, request: Request) -> str:
        raise NotImplementedError


class Creations(Throttle):
    """Limits requests that create an object, of any kind."""

    def most(self) -> int:
        return int(settings.ORCHESTRA.writes_per_minute)

    def counts(self, view: View) -> bool:
        return "pk" not in view.kwargs

    def about(self, request: Request) -> str:
        return "new"


class Repetitions(Throttle):
    """Limits repetitions of one action on one object, so a first decision and a first cancel always
    pass.
    """

    def most(self) -> int:
        return -(-int(settings.ORCHESTRA.writes_per_minute) // 10)  # rounded up: a small limit is not none

    def counts(self, view: View) -> bool:
        return "pk" in view.kwargs

    def about(self, request: Request) -> str:
        return request.path.rstrip("/")
